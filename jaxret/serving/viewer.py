"""A model as a page that shows it in 3D, with trimesh's viewer; nothing is loaded from elsewhere."""

import numpy as np
import trimesh
from trimesh.viewer.notebook import scene_to_html
from trimesh.visual.material import PBRMaterial

from jaxret.geometry.mesh import Mesh, normalize_mesh
from jaxret.geometry.simplify import simplify_mesh
from jaxret.preprocessing.shapes import THUMBNAIL

# Its script is inline, its model a data address. It has no origin, so that it reaches nothing of the server.
CONTENT_SECURITY_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src blob: data:; connect-src data:; frame-ancestors 'self'"
)
_GREY = (122, 128, 137, 255)  # the viewer's light is so strong that a lighter one would be white
# Beside what trimesh's page does: a dark ground where the reader has one, and keys that turn the shape as a drag does.
_MORE = """<script>
document.documentElement.lang = 'en';
document.title = 'The model in 3D';
document.body.tabIndex = 0;
const dark = matchMedia('(prefers-color-scheme: dark)');
function ground() {
  scene.background.set(dark.matches ? 0x20242a : 0xffffff);
  if (camera) render();
}
dark.addEventListener('change', ground);
ground();
const TURNS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const ZOOMS = { '+': 0.9, '=': 0.9, '-': 1 / 0.9 };
addEventListener('keydown', (event) => {
  const [turn, zoom] = [TURNS[event.key], ZOOMS[event.key]];
  if (!camera || !(turn || zoom)) return;
  const from = camera.position.clone().sub(controls.target);
  const side = new THREE.Vector3().crossVectors(camera.up, from).normalize();
  const axis = turn && turn[0] ? camera.up : side;
  if (turn) {
    const angle = (turn[0] || -turn[1]) * Math.PI / 18;
    const turned = new THREE.Quaternion().setFromAxisAngle(axis.clone().normalize(), angle);
    from.applyQuaternion(turned);
    camera.up.applyQuaternion(turned);
  }
  camera.position.copy(controls.target).add(from.multiplyScalar(zoom ?? 1));
  camera.lookAt(controls.target);
  render();
  event.preventDefault();
});
</script></body>"""
_OPENING, _DISTANCE = 45.0, 2.8  # of the camera: degrees; radii of the shape, which just fits


def viewer_page(mesh: Mesh, *, max_faces: int, azimuth: float | None = None, elevation: float | None = None) -> str:
    """HTML page in which a mesh is turned with the mouse, a finger or the arrow keys.

    Args:
      mesh: the mesh, +y up.
      max_faces: a mesh with more is simplified.
      azimuth, elevation: of the camera at first, in degrees, as of a `Hit`; None as the pictures of results have it.
    """
    if len(mesh.faces) > max_faces:
        mesh = simplify_mesh(mesh, max_faces=max_faces)
    mesh = normalize_mesh(mesh, mode='sphere')
    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    # Both sides are drawn: which is the outer one, many files do not say.
    material = PBRMaterial(baseColorFactor=_GREY, metallicFactor=0.0, roughnessFactor=0.9, doubleSided=True)
    shape.visual = trimesh.visual.TextureVisuals(material=material)
    scene = trimesh.Scene(shape)
    azimuth = np.radians(THUMBNAIL.first_azimuth if azimuth is None else azimuth)
    elevation = np.radians(THUMBNAIL.elevation if elevation is None else elevation)
    turn = trimesh.transformations.euler_matrix(-elevation, azimuth, 0.0, 'sxyz')
    scene.camera = trimesh.scene.Camera(fov=(_OPENING, _OPENING))
    scene.camera_transform = turn @ trimesh.transformations.translation_matrix([0.0, 0.0, _DISTANCE])
    return scene_to_html(scene).replace('</body>', _MORE)
