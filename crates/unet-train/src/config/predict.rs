//! The section of the configuration that says how a trained network is used ([`PredictSection`]).

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::objects::Arrangement;
use crate::predict::Augmentation;

/// How a trained network is used where nobody says otherwise; goes into its checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictSection {
    /// Test-time augmentation: `none`, `flip`, `d4`, `rot7`.
    pub tta: Augmentation,
    /// How objects lie: `{ kind = "scattered" }`, or `"packed"` with their `class`.
    #[serde(default, skip_serializing_if = "Arrangement::is_scattered")]
    pub objects: Arrangement,
}

impl PredictSection {
    /// Whether the class of objects is one of the classes that there are, which are two.
    ///
    /// # Errors
    /// Says what is expected.
    pub(crate) fn check_classes(&self, classes: usize) -> Result<(), TrainError> {
        let (found, expected) = match self.objects {
            Arrangement::Scattered => return Ok(()),
            Arrangement::Packed { class: 0 | 1 } if classes == 2 => return Ok(()),
            Arrangement::Packed { class } if classes == 2 => (format!("class {class}"), "class 0 or 1".to_owned()),
            Arrangement::Packed { .. } => (
                "packed".to_owned(),
                format!("scattered: objects are made of two classes, and these masks have {classes}"),
            ),
        };
        Err(TrainError::config("predict.objects", found, expected))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_packed_where_there_are_two_classes_and_theirs_is_one() {
        let check = |class, classes| {
            let section = PredictSection { objects: Arrangement::Packed { class }, ..PredictSection::default() };
            section.check_classes(classes).map_err(|e| e.to_string())
        };
        assert!(check(0, 2).is_ok() && check(1, 2).is_ok());
        assert!(check(2, 2).unwrap_err().contains("class 0 or 1"));
        assert!(check(1, 3).unwrap_err().contains("these masks have 3"));
        assert!(PredictSection::default().check_classes(3).is_ok());
    }
}
