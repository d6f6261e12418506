"""Make a smaller or larger picture of a tenant's file, in a file of the tenant's.

A small file may stand for a huge picture, so the size is read from its header and checked before a pixel is; what is made is bounded too.
Formats are those that pictures usually have, decoders that have been trouble are not among them.
"""

from __future__ import annotations

import io
from asyncio import CancelledError
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final, Literal

from pydantic import Field

from jobqueue.worker.handler import ArgumentError, Context, Discard

if TYPE_CHECKING:
    from PIL.Image import Image

FILE_BYTES_MAX: Final = 64 * 1024 * 1024
PIXELS_MAX: Final = 50_000_000
"""Of a picture that is read: 200 MB at 4 bytes a pixel. A camera's picture has 24 to 48 million."""

SIDE_MAX: Final = 10_000
MADE_PIXELS_MAX: Final = 50_000_000
FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
BY_SUFFIX: Final = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "gif": "GIF"}

Side = Annotated[int, Field(ge=1, le=SIDE_MAX)]


def image_resize(
    ctx: Context,
    path: str,
    output: str,
    width: Side | None = None,
    height: Side | None = None,
    fit: Literal["contain", "cover", "stretch"] = "contain",
    quality: Annotated[int, Field(ge=1, le=95)] = 85,
    enlarge: bool = False,
) -> dict[str, Any]:
    """Resize `path` into `output`, whose suffix says the format. One of width and height may be left out with `contain`.

    `contain` keeps the whole picture inside the box, `cover` fills the box and cuts what hangs over, `stretch` takes the box as it is.
    The turn a camera noted is applied, other metadata left out. Of an animation the first picture is taken. Raises Discard, FileRefused.
    """
    format_name = _format_of(output)
    if width is None and height is None:
        raise ArgumentError("argument 'width' or argument 'height' is needed")
    if fit != "contain" and (width is None or height is None):
        raise ArgumentError(f"with fit {fit!r} both arguments 'width' and 'height' are needed")
    with ctx.files.read(path, bytes_max=FILE_BYTES_MAX) as file:
        picture = _read(file, path)
    if ctx.cancelled:
        raise CancelledError
    ctx.progress(40, "read")
    made = _resize(picture, width, height, fit, enlarge)
    if ctx.cancelled:
        raise CancelledError
    ctx.progress(80, "resized")
    data = _encode(made, format_name, quality)
    with ctx.files.write(output) as file:
        file.write(data)
    return {
        "output": output,
        "format": format_name.lower(),
        "width": made.width,
        "height": made.height,
        "bytes": len(data),
        "from": {"width": picture.width, "height": picture.height},
    }


def _format_of(output: str) -> str:
    format_name = BY_SUFFIX.get(output.rpartition(".")[2].lower())
    if format_name is None:
        raise ArgumentError(f"argument 'output' ends with one of {', '.join('.' + suffix for suffix in BY_SUFFIX)}")
    return format_name


def _read(file: BinaryIO, path: str) -> Image:
    from PIL import Image, ImageOps  # part of the extra `handlers`

    try:
        found = Image.open(file, formats=FORMATS)  # reads the header only
        if found.width * found.height > PIXELS_MAX:
            raise Discard(f"picture {path!r} has {found.width} x {found.height} pixels, more than {PIXELS_MAX:,}")
        found.load()
        return ImageOps.exif_transpose(found)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Discard(f"picture {path!r} has more pixels than {PIXELS_MAX:,}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # what Pillow's decoders say of files they cannot read
        raise Discard(f"file {path!r} is no picture that can be read: {error}") from None


def _resize(picture: Image, width: int | None, height: int | None, fit: str, enlarge: bool) -> Image:
    from PIL import Image, ImageOps

    if picture.mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info or picture.mode in ("PA", "La", "RGBa") else "RGB")
    wanted = _box(picture.width, picture.height, width, height, fit, enlarge)
    if wanted[0] * wanted[1] > MADE_PIXELS_MAX:
        raise Discard(f"{wanted[0]} x {wanted[1]} pixels are more than {MADE_PIXELS_MAX:,}")
    if fit == "cover":
        return ImageOps.fit(picture, wanted, Image.Resampling.LANCZOS)
    return picture.resize(wanted, Image.Resampling.LANCZOS)


def _box(had_width: int, had_height: int, width: int | None, height: int | None, fit: str, enlarge: bool) -> tuple[int, int]:
    """Say what size the new picture has."""
    if fit != "contain":
        assert width is not None
        assert height is not None
        return width, height
    scale = min(1e9 if width is None else width / had_width, 1e9 if height is None else height / had_height)
    if not enlarge:
        scale = min(scale, 1.0)
    return min(SIDE_MAX, max(1, round(had_width * scale))), min(SIDE_MAX, max(1, round(had_height * scale)))


def _encode(picture: Image, format_name: str, quality: int) -> bytes:
    if format_name == "JPEG" and picture.mode in ("RGBA", "LA"):  # it knows no transparency: what shone through becomes white
        from PIL import Image

        ground = Image.new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    buffer = io.BytesIO()
    options = {"quality": quality} if format_name in ("JPEG", "WEBP") else {}
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()
