//! Maps of either storage type as one type. Public functions are generic over [`Element`](crate::Element), but hand on at
//! once to code that is not: kernels are then compiled once, in this crate and with its settings, not in every crate that
//! calls them.

use half::bf16;

use crate::{Map, MapMut, Source};

/// A source of either storage type.
#[derive(Clone, Copy, Debug)]
pub enum StoredSource<'a> {
    /// In f32.
    F32(Source<'a, f32>),
    /// In bf16.
    Bf16(Source<'a, bf16>),
}

/// A map to write, of either storage type.
#[derive(Debug)]
pub enum StoredMut<'a> {
    /// In f32.
    F32(MapMut<'a, f32>),
    /// In bf16.
    Bf16(MapMut<'a, bf16>),
}

/// Types that maps are stored as.
pub trait Stored: Sized {
    /// Forgets the type.
    fn source(x: Source<'_, Self>) -> StoredSource<'_>;
    /// Forgets the type.
    fn map(x: Map<'_, Self>) -> StoredSource<'_> {
        Self::source(Source { map: x, norm: None })
    }
    /// Forgets the type.
    fn map_mut(x: MapMut<'_, Self>) -> StoredMut<'_>;
}

impl Stored for f32 {
    fn source(x: Source<'_, f32>) -> StoredSource<'_> {
        StoredSource::F32(x)
    }
    fn map_mut(x: MapMut<'_, f32>) -> StoredMut<'_> {
        StoredMut::F32(x)
    }
}

impl Stored for bf16 {
    fn source(x: Source<'_, bf16>) -> StoredSource<'_> {
        StoredSource::Bf16(x)
    }
    fn map_mut(x: MapMut<'_, bf16>) -> StoredMut<'_> {
        StoredMut::Bf16(x)
    }
}

/// Runs an expression with the source's own type.
macro_rules! with_source {
    ($x:ident => $value:expr) => {
        match $x {
            $crate::stored::StoredSource::F32($x) => $value,
            $crate::stored::StoredSource::Bf16($x) => $value,
        }
    };
}

/// Runs an expression with the map's own type.
macro_rules! with_map_mut {
    ($y:ident => $value:expr) => {
        match $y {
            $crate::stored::StoredMut::F32($y) => $value,
            $crate::stored::StoredMut::Bf16($y) => $value,
        }
    };
}

pub(crate) use {with_map_mut, with_source};
