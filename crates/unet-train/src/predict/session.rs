//! [`TileSession`]: an image predicted tile by tile in the order that a caller chooses, as a viewer does that wants first what is on the
//! screen. Between tiles the caller has control: it may look at what there is, change its mind, or stop.

use std::path::Path;

use unet_data::Image;

use super::blend::Canvas;
use super::prediction::Prediction;
use super::predictor::Predictor;
use super::tiling::Tiles;
use crate::TrainError;

/// A tile of an image: the pixels that it has a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// An image on its way, tile by tile.
#[derive(Debug)]
pub struct TileSession<'a> {
    predictor: &'a mut Predictor,
    inputs: Vec<Vec<f32>>,
    cut: Tiles,
    tiles: Vec<Tile>,
    done: Vec<bool>,
    canvas: Canvas,
}

impl Predictor {
    /// Begins an image that is predicted tile by tile; `path` names it in errors.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn tiles(&mut self, image: &Image, path: &Path) -> Result<TileSession<'_>, TrainError> {
        let size = (image.height(), image.width());
        self.check_rows(size, image.channels(), path)?;
        let (inputs, cut) = (self.inputs(image)?, self.tile_size().cut(size.0, size.1));
        let tile = |row: usize, column: usize| {
            let ((top, bottom), (left, right)) = (cut.rows[row].inside(size.0), cut.columns[column].inside(size.1));
            Tile { top, left, height: bottom - top, width: right - left }
        };
        let tiles: Vec<Tile> = (0..cut.len()).map(|t| tile(t / cut.columns.len(), t % cut.columns.len())).collect();
        let (done, canvas) = (vec![false; tiles.len()], Canvas::new(&cut, self.values()));
        Ok(TileSession { predictor: self, inputs, cut, tiles, done, canvas })
    }
}

impl TileSession<'_> {
    /// The tiles, row by row; neighbours overlap.
    pub fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Which of them are done.
    pub fn done(&self) -> &[bool] {
        &self.done
    }

    /// Predicts one tile, by its place among [`Self::tiles`]. One that is done is left as it is.
    ///
    /// # Errors
    /// There is no such tile, or the network cannot be run.
    pub fn run(&mut self, tile: usize) -> Result<(), TrainError> {
        if tile >= self.tiles.len() {
            return Err(TrainError::config("tile", tile, format!("less than {}", self.tiles.len())));
        }
        if self.done[tile] {
            return Ok(());
        }
        let columns = self.cut.columns.len();
        let (row, column) = (self.cut.rows[tile / columns], self.cut.columns[tile % columns]);
        let size = (self.cut.height, self.cut.width);
        let values = self.predictor.tile_of(&self.inputs, 0, size, &row, &column)?;
        self.canvas.add(&row, &column, &values);
        self.done[tile] = true;
        Ok(())
    }

    /// What is known so far; where no tile has been, all probabilities are 0.
    pub fn look(&self) -> Prediction {
        self.predictor.prediction(&self.canvas.look(), (self.cut.height, self.cut.width))
    }

    /// Predicts the tiles that are left, and yields the whole.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn finish(mut self) -> Result<Prediction, TrainError> {
        (0..self.tiles.len()).try_for_each(|tile| self.run(tile))?;
        let values = self.canvas.take(self.cut.height);
        Ok(self.predictor.prediction(&values, (self.cut.height, self.cut.width)))
    }
}
