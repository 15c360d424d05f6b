"""What `jaxret COMMAND --help` says of each command."""

MODEL = 'built-in: efficientnet-lite0 (default), -lite1, -lite2, or a folder with DINOv2, CLIP, SigLIP or a plain ViT'

UP_AXIS = 'axis that points up in files that do not say; auto, the default of a new folder, guesses it'
QUERY_UP_AXIS = "of mesh and point queries that do not say (default: of the index's models; auto, where they have both)"

DEMO = """Writes simple models of furniture, a photo of one of them with its mask, and a list of known photos.

Nothing is downloaded; the same models and photos each time.
"""
INDEX = """Makes an index of the models below a folder, at any depth, and in zip archives there: OBJ, OFF, PLY, STL,
GLB, glTF, 3MF; with the extra `cad` also STEP, IGES and DAE; each also compressed (.gz, .stpz).

The built-in model needs no training: published weights of images, which see the models as grey views. --checkpoint
takes a training run in its place. Without either, an index keeps the model that it has.

For scan-CAD also grids of distances of 32 x 32 x 32 (.vox, .df, .sdf). Ids are paths below DIR, which go on below an
archive; the category of a model is its first folder (where one has all, the next that groups them), or what
--categories says. Broken files, and models of formats that are not read, are listed in INDEX/failed.csv and do not stop
it. An assembly is one model; with --parts each of its parts is one, with an id such as toy.step/HEAD.

GLB, glTF and DAE files say which axis points up, 3MF files have +z. Of the others it is guessed, and what the models of
a folder agree on holds for all of them; where nothing tells, it is y, or as in training. INDEX/overview.html shows it.
--up-axis says it of a folder, a column up_axis of --categories of a model, or of all below a folder's path.

The same command again embeds only what is new or changed and drops what is gone; without --models it goes through all
folders of the index. Size and time of change tell whether a file is as before; where they differ, its SHA-256 does.
Killed at any moment, it goes on from there. Who reads the index meanwhile sees the old one, whole.

An index is of one model: with another one the command ends with an error, or embeds everything anew (--rebuild).

--add-photos adds photos that are known to show models of the index: they count in every search. Each line of CSV has
a photo (path relative to the file), the id of its model, and perhaps a mask (a file, or auto) and a box
("left,top,right,bottom" in pixels). If any line is wrong, all that are wrong are listed and none is added; photos are
read once all lines are right, and those that cannot be are listed then. Without --models the models stay as they are.

--cluster reads and embeds on the workers of a Dask cluster and makes the same index (extra `cluster`). SCHEDULER is
such as tcp://HOST:8786. All workers need DIR, WORKDIR and INDEX under the same paths and the same version of jaxret.
"""
PHOTOS = """Lists the photos that are known to show models of an index: those of `jaxret index --add-photos`, and
those that were taught in the page of `jaxret serve` or in Python. The last column says why one does not count.

--remove takes numbers of the list, or the CSV file that was added. Nothing is deleted: the file INDEX/references.sqlite
is the log.
"""
DUPLICATES = """Finds models that are alike, and says in which way, the strongest first:

  same bytes   the same content
  same mesh    the same triangles, in another order or format
  same shape   turned, moved, scaled, triangulated otherwise, from another program
  mirrored     the same after a reflection, and only then
  near         almost the same: with the largest distance as a share of the longest side

Of an INDEX, which keeps what is compared first, or of a folder. Equal models are groups; of mirrored and near ones one
of each group stands for it. --keep proposes per group and real size a CAD format before a mesh, then a file that says
its unit, a closed surface that is not inside out, the shorter path. Nothing is ever deleted.
"""
SEARCH = """Finds the models that match each query best.

An index of the built-in model is asked with photos, meshes, point clouds (.ply .xyz .npy) and scans (.sdf .df .vox).
So is an index of a run, of scan-CAD but for photos, of its method cells with scans alone.

Parts like this one: all of them are asked with a mesh in the same way. It is embedded as the models are, turned about
the vertical in many headings, and the best one counts; --up-axis says how it stands where not as the models do. The
10 best models (or --top, at most 20) are then laid on the mesh, however they stand, are scaled or mirrored: the largest
and the mean distance of the surfaces are given in percent of its longest side, and the nearest (by mean) come first.
--no-align leaves that out. --sheet shows where each differs.

Without --mask and --box the object of a photo is taken to fill the frame, or to be what is opaque (built-in model). The
built-in model and CMIC compare the object alone: a mask helps them much. For the others a mask or box says where to
cut. --mask auto cuts the object out by its colours (GrabCut of OpenCV, extra `mask`), inside --box where there is one,
else inside the frame less a small border.

--together takes all queries as photos of one object: scores are means over the photos.
--text says in words what is wanted, alone or with every photo; for an index of the built-in model with a folder of
CLIP, OpenCLIP or SigLIP, its tokenizer in it (extra `text`). Beside a photo the scores of both are fused, each measured
by how far it spreads over the index.

--where keeps models whose facts meet all its conditions, joined by `and`: size (the longest side), width, height, depth
(along x, y and z, +y up), area and volume with a unit (um mm cm in ft m; mm2, cm3, ...), triangles, watertight, not
watertight, name~TEXT (in the id, or the name in the file), unit=mm, color=#ff0000. Operators: < <= > >= = !=. Models
whose files have no unit (OBJ, OFF, PLY, STL) meet no condition on a length; it says how many these are. Answers are
exact. An index of before sizes were kept needs `jaxret index --rebuild`.

With --database candidates come from a vector database (`jaxret export --index INDEX --database DB`), and of INDEX only
the description is read. Candidates are scored exactly; it says where a shape that is none could score more. Known
photos do not count there.
"""
FIT = """Learns of the known photos of an index of the built-in model.

At least 5 models must have two known photos or more. What is learnt is a linear map of photos, in which photos of one
model lie closer together, and how near a known photo must be to count. It is measured on photos that are held out, and
the map is kept only where it ranks their models better. Then searches say how sure they are of the first result, and
whether the object is probably none of the index's models, as far as held-out photos show that this can be told; of
photos with a silhouette, or of those without, whichever most known photos are. The index learns nothing more by itself:
run it again when many photos came in. Embeddings of models stay as they are.
"""
EXPORT = """Writes an encoder, or embeddings.

--checkpoint, --model: the encoder of queries with its weights as a StableHLO program, serialised by jax.export. It
needs neither jaxret nor Python's Flax: JAX runs it (jax.export.deserialize), and through its MLIR any StableHLO
runtime. FILE.json says what arrays it takes and how they are made from files. It is read again and compared with the
model before it is written. The program embeds; searching stays with `jaxret search`. It runs on CPU and CUDA.

--index: the embeddings of its shapes with ids and categories, as a Parquet or Arrow file (FILE ends in .parquet or
.arrow; extra `parquet`), or in a Milvus database (extra `database`): DB is a file ending in .db, or a server such as
http://localhost:19530. Export again after every change of the index.
"""
