"""Files and arrays of shapes as other layers name them, without the tools that read and make them."""

MESH_SUFFIXES = ('.obj', '.off', '.ply', '.stl', '.glb', '.gltf')
DISTANCE_SUFFIXES = ('.sdf', '.df', '.vox')
FACE_VALUES = 15  # of a face: centre 3, corners 9, normal 3
