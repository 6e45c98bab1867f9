//! Tiles of separate colour planes put together: the decoder itself takes tiles of the second plane for such below the first.

use tiff::TiffError;
use tiff::decoder::DecodingResult;

use super::tiff::Reader;

/// Size of an image whose planes are in tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) samples: usize,
}

/// The page as (H, W, C), in the type it is stored in; `None` for one whose tiles are of unlike types.
pub(super) fn read(reader: &mut Reader, size: Size) -> Result<Option<DecodingResult>, TiffError> {
    let first = reader.read_chunk(0)?;
    macro_rules! collect {
        ($($kind:ident),*) => {
            match first {
                $(DecodingResult::$kind(_) => collect(reader, size, |r| match r {
                    DecodingResult::$kind(v) => Some(v),
                    _ => None,
                })?.map(DecodingResult::$kind),)*
                _ => None,
            }
        };
    }
    Ok(collect!(U8, U16, U32, I8, I16, I32, F16, F32, F64))
}

fn collect<T: Copy + Default>(
    reader: &mut Reader,
    size: Size,
    values_of: impl Fn(DecodingResult) -> Option<Vec<T>>,
) -> Result<Option<Vec<T>>, TiffError> {
    let Size { width, height, samples } = size;
    let (tile_width, tile_height) = reader.chunk_dimensions();
    let (tile_width, tile_height) = (tile_width as usize, tile_height as usize);
    let (across, down) = (width.div_ceil(tile_width.max(1)), height.div_ceil(tile_height.max(1)));
    let mut out = vec![T::default(); width * height * samples];
    for tile in 0..across * down * samples {
        let (plane, place) = (tile / (across * down), tile % (across * down));
        let (x0, y0) = (place % across * tile_width, place / across * tile_height);
        let chunk = u32::try_from(tile).unwrap_or(u32::MAX);
        let (columns, rows) = reader.chunk_data_dimensions(chunk);
        let Some(values) = values_of(reader.read_chunk(chunk)?) else { return Ok(None) };
        if values.len() < columns as usize * rows as usize {
            return Ok(None);
        }
        let lines = values.chunks_exact((columns as usize).max(1)).take(height - y0.min(height));
        for (y, line) in (y0..).zip(lines) {
            for (x, value) in (x0..width).zip(line) {
                out[(y * width + x) * samples + plane] = *value;
            }
        }
    }
    Ok(Some(out))
}
