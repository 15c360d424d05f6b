"""Systems written plainly in PyTorch, to be timed beside `jaxret`'s; of as many parameters, and equal in value."""

# System -> module and class here.
PEERS = {
    'cmic': ('torch_peers.cmic', 'CMIC'),
    'scan_cad': ('torch_peers.scan_cad', 'ScanCad'),
    'hifa': ('torch_peers.hifa', 'Hifa'),
    'cross_modal_center': ('torch_peers.cross_modal_center', 'CrossModalCenter'),
}
