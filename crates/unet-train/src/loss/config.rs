//! [`LossConfig`]: which loss, with which numbers, as the configuration has it; and the [`Loss`] that it means.

use serde::{Deserialize, Serialize};

use super::{BceWithLogits, Compound, CrossEntropy, Focal, Loss, Overlap, PerClass, Region, Scope};
use crate::TrainError;

/// Which loss to minimise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum LossConfig {
    /// [`BceWithLogits`] for two classes, [`CrossEntropy`] for more.
    #[default]
    Auto,
    /// [`BceWithLogits`].
    Bce {
        /// Factor of the loss of pixels of class 1.
        #[serde(default = "one")]
        pos_weight: f64,
    },
    /// [`CrossEntropy`].
    CrossEntropy {
        /// A weight per class, in the order of the mask values; none weighs all alike.
        #[serde(default)]
        class_weights: Vec<f64>,
    },
    /// [`Region`]: 1 − soft Dice.
    Dice {
        /// Whether each image or the whole batch gets one Dice.
        #[serde(default)]
        scope: Scope,
        /// Added above and below the fraction's line.
        #[serde(default = "one")]
        smooth: f64,
        /// Whether class 0 counts, where there is a logit per class.
        #[serde(default = "yes")]
        background: bool,
        /// The classes that count, by their place in the order of mask values; none: class 1 of two, all of more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<usize>,
    },
    /// Cross-entropy (binary for two classes) and Dice, each with its weight.
    DiceCe {
        /// Weight of the cross-entropy.
        #[serde(default = "one")]
        ce_weight: f64,
        /// Weight of the Dice loss.
        #[serde(default = "one")]
        dice_weight: f64,
        /// Factor of the cross-entropy of pixels of class 1, for two classes.
        #[serde(default = "one")]
        pos_weight: f64,
        /// A weight per class in the cross-entropy, for more than two.
        #[serde(default)]
        class_weights: Vec<f64>,
        /// Whether each image or the whole batch gets one Dice.
        #[serde(default)]
        scope: Scope,
        /// Added above and below the Dice's line.
        #[serde(default = "one")]
        smooth: f64,
        /// Whether class 0 counts in the Dice, where there is a logit per class.
        #[serde(default = "yes")]
        background: bool,
        /// The classes that count, by their place in the order of mask values; none: class 1 of two, all of more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<usize>,
    },
    /// [`Focal`].
    Focal {
        /// The exponent that makes sure pixels count little.
        #[serde(default = "two")]
        gamma: f64,
        /// Weight of class 1, against 1 − alpha of class 0, for two classes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alpha: Option<f64>,
        /// A weight per class, for more than two.
        #[serde(default)]
        class_weights: Vec<f64>,
    },
    /// [`Region`]: 1 − the Tversky index, which weighs false positives and false negatives apart.
    Tversky {
        /// Weight of false positives.
        #[serde(default = "alpha")]
        alpha: f64,
        /// Weight of false negatives.
        #[serde(default = "beta")]
        beta: f64,
        /// Whether each image or the whole batch gets one index.
        #[serde(default)]
        scope: Scope,
        /// Added above and below the fraction's line.
        #[serde(default = "one")]
        smooth: f64,
        /// Whether class 0 counts, where there is a logit per class.
        #[serde(default = "yes")]
        background: bool,
        /// The classes that count, by their place in the order of mask values; none: class 1 of two, all of more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<usize>,
    },
    /// [`Region`]: (1 − the Tversky index) to the power of gamma.
    FocalTversky {
        /// Weight of false positives.
        #[serde(default = "alpha")]
        alpha: f64,
        /// Weight of false negatives.
        #[serde(default = "beta")]
        beta: f64,
        /// The exponent: below 1, well segmented images still count.
        #[serde(default = "three_quarters")]
        gamma: f64,
        /// Whether each image or the whole batch gets one index.
        #[serde(default)]
        scope: Scope,
        /// Added above and below the fraction's line.
        #[serde(default = "one")]
        smooth: f64,
        /// Whether class 0 counts, where there is a logit per class.
        #[serde(default = "yes")]
        background: bool,
        /// The classes that count, by their place in the order of mask values; none: class 1 of two, all of more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        classes: Vec<usize>,
    },
}

fn one() -> f64 {
    1.0
}
fn two() -> f64 {
    2.0
}
fn yes() -> bool {
    true
}
fn alpha() -> f64 {
    0.3
}
fn beta() -> f64 {
    0.7
}
fn three_quarters() -> f64 {
    0.75
}

/// A loss's name, its numbers and what they have to be: what [`LossConfig::validate`] looks at.
type Bounds<'a> = (Vec<(&'static str, f64)>, Vec<(&'static str, f64)>, &'a [f64]);

impl LossConfig {
    /// The loss for so many classes.
    ///
    /// # Errors
    /// It does not go with that number of classes: says with which.
    pub fn build(&self, classes: usize) -> Result<Box<dyn Loss>, TrainError> {
        self.check_classes(classes)?;
        let region = |overlap: Overlap| match self.counted() {
            [] => Box::new(Region::new(classes, overlap)),
            counted => Box::new(Region::of_classes(classes, overlap, counted)),
        };
        Ok(match self.clone() {
            Self::Auto if classes == 2 => Box::new(BceWithLogits::default()),
            Self::Auto => Box::new(CrossEntropy::new(classes)),
            Self::Bce { pos_weight } => Box::new(BceWithLogits::weighted(pos_weight)),
            Self::CrossEntropy { class_weights } => Box::new(CrossEntropy::weighted(classes, &class_weights)),
            Self::Dice { scope, smooth, background, .. } => region(Overlap::dice(scope, smooth, background)),
            Self::Tversky { alpha, beta, scope, smooth, background, .. } => {
                region(Overlap { alpha, beta, gamma: 1.0, scope, smooth, background })
            }
            Self::FocalTversky { alpha, beta, gamma, scope, smooth, background, .. } => {
                region(Overlap { alpha, beta, gamma, scope, smooth, background })
            }
            Self::Focal { gamma, alpha, class_weights } => Box::new(Focal::new(classes, gamma, alpha, &class_weights)),
            Self::DiceCe { ce_weight, dice_weight, pos_weight, class_weights, scope, smooth, background, .. } => {
                let pixels: Box<dyn Loss> = match classes {
                    2 => Box::new(BceWithLogits::weighted(pos_weight)),
                    _ => Box::new(CrossEntropy::weighted(classes, &class_weights)),
                };
                let dice = region(Overlap::dice(scope, smooth, background));
                Box::new(Compound::new("dice_ce", vec![(ce_weight, pixels), (dice_weight, dice)]))
            }
        })
    }

    /// The loss for so many classes, which may lie over one another: where they do, the one for two classes of each ([`PerClass`]).
    ///
    /// # Errors
    /// As [`Self::build`]; it is one of classes of which a pixel has one.
    pub fn build_for(&self, classes: usize, multi_label: bool) -> Result<Box<dyn Loss>, TrainError> {
        if !multi_label {
            return self.build(classes);
        }
        if matches!(self, Self::CrossEntropy { .. }) {
            let expected = "bce, dice_ce, dice, focal, tversky, focal_tversky or auto with data.multi_label";
            return Err(TrainError::config("loss.kind", self.name(), expected));
        }
        if !self.counted().is_empty() {
            let expected = "nothing with data.multi_label: each class has an index of its own";
            return Err(TrainError::config("loss.classes", format!("{:?}", self.counted()), expected));
        }
        let parts = (0..classes).map(|_| self.build(2)).collect::<Result<_, _>>()?;
        Ok(Box::new(PerClass::new(parts)))
    }

    /// Its name, as the configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bce { .. } => "bce",
            Self::CrossEntropy { .. } => "cross_entropy",
            Self::Dice { .. } => "dice",
            Self::DiceCe { .. } => "dice_ce",
            Self::Focal { .. } => "focal",
            Self::Tversky { .. } => "tversky",
            Self::FocalTversky { .. } => "focal_tversky",
        }
    }

    /// The classes that are said to count in Dice or Tversky; none where nothing is said.
    fn counted(&self) -> &[usize] {
        match self {
            Self::Dice { classes, .. }
            | Self::DiceCe { classes, .. }
            | Self::Tversky { classes, .. }
            | Self::FocalTversky { classes, .. } => classes,
            _ => &[],
        }
    }

    /// Says which classes count in Dice or Tversky, by their place in the order of mask values.
    ///
    /// # Errors
    /// It is a loss of single pixels.
    pub fn set_classes(&mut self, counted: &[usize]) -> Result<(), TrainError> {
        match self {
            Self::Dice { classes, .. }
            | Self::DiceCe { classes, .. }
            | Self::Tversky { classes, .. }
            | Self::FocalTversky { classes, .. } => *classes = counted.to_vec(),
            _ => {
                let expected = format!("dice, dice_ce, tversky or focal_tversky, not loss.kind = \"{}\"", self.name());
                return Err(TrainError::config("loss.classes", format!("{counted:?}"), expected));
            }
        }
        Ok(())
    }

    /// Numbers that have to be above 0, numbers that have to be 0 or more, and class weights.
    fn numbers(&self) -> Bounds<'_> {
        match self {
            Self::Auto => (vec![], vec![], &[]),
            Self::Bce { pos_weight } => (vec![("pos_weight", *pos_weight)], vec![], &[]),
            Self::CrossEntropy { class_weights } => (vec![], vec![], class_weights),
            Self::Dice { smooth, .. } => (vec![("smooth", *smooth)], vec![], &[]),
            Self::DiceCe { ce_weight, dice_weight, pos_weight, class_weights, smooth, .. } => (
                vec![("smooth", *smooth), ("pos_weight", *pos_weight)],
                vec![("ce_weight", *ce_weight), ("dice_weight", *dice_weight)],
                class_weights,
            ),
            Self::Focal { gamma, alpha, class_weights } => {
                (vec![], vec![("gamma", *gamma), ("alpha", alpha.unwrap_or(0.0))], class_weights)
            }
            Self::Tversky { alpha, beta, smooth, .. } => {
                (vec![("smooth", *smooth)], vec![("alpha", *alpha), ("beta", *beta)], &[])
            }
            Self::FocalTversky { alpha, beta, gamma, smooth, .. } => {
                (vec![("smooth", *smooth), ("gamma", *gamma)], vec![("alpha", *alpha), ("beta", *beta)], &[])
            }
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        let bad =
            |key: &str, found: f64, expected: &str| Err(TrainError::config(format!("loss.{key}"), found, expected));
        let (positive, not_negative, class_weights) = self.numbers();
        if let Some((key, v)) = positive.into_iter().find(|(_, v)| !(*v > 0.0 && v.is_finite())) {
            return bad(key, v, "a number above 0");
        }
        if let Some((key, v)) = not_negative.into_iter().find(|(_, v)| !(*v >= 0.0 && v.is_finite())) {
            return bad(key, v, "0 or more");
        }
        match self {
            Self::Focal { alpha: Some(alpha), .. } if *alpha > 1.0 => return bad("alpha", *alpha, "0 to 1"),
            Self::DiceCe { ce_weight: 0.0, dice_weight: 0.0, .. } => {
                return bad("dice_weight", 0.0, "above 0 where ce_weight is 0");
            }
            _ => {}
        }
        let weighs = class_weights.is_empty() || class_weights.iter().any(|w| *w > 0.0);
        match class_weights.iter().find(|w| !(**w >= 0.0 && w.is_finite())) {
            Some(w) => bad("class_weights", *w, "weights of 0 or more"),
            None if !weighs => bad("class_weights", 0.0, "at least one weight above 0"),
            None => Ok(()),
        }
    }

    /// Whether the classes that count are there, each named once.
    fn check_counted(&self, classes: usize) -> Result<(), TrainError> {
        let counted = self.counted();
        let twice = counted.iter().enumerate().any(|(i, class)| counted[..i].contains(class));
        let no_background = matches!(
            self,
            Self::Dice { background: false, .. }
                | Self::DiceCe { background: false, .. }
                | Self::Tversky { background: false, .. }
                | Self::FocalTversky { background: false, .. }
        );
        let expected = match () {
            () if counted.is_empty() => return Ok(()),
            () if twice || counted.iter().any(|class| *class >= classes) => {
                format!("some of 0 to {}, each once: places in the order of mask values", classes.saturating_sub(1))
            }
            () if no_background => {
                "no background = false beside it: it says by itself whether class 0 counts".to_owned()
            }
            () => return Ok(()),
        };
        Err(TrainError::config("loss.classes", format!("{counted:?}"), expected))
    }

    /// What depends on how many classes there are.
    fn check_classes(&self, classes: usize) -> Result<(), TrainError> {
        self.check_counted(classes)?;
        let bad = |key: &str, found: String, expected: String| {
            Err(TrainError::config(format!("loss.{key}"), found, expected))
        };
        if matches!(self, Self::Bce { .. }) && classes != 2 {
            return bad("kind", format!("bce with {classes} classes"), "cross_entropy or auto".to_owned());
        }
        let (for_two, weights) = match self {
            Self::DiceCe { pos_weight, class_weights, .. } => {
                ((*pos_weight != 1.0).then_some("pos_weight"), class_weights.as_slice())
            }
            Self::Focal { alpha, class_weights, .. } => (alpha.map(|_| "alpha"), class_weights.as_slice()),
            Self::CrossEntropy { class_weights } => (None, class_weights.as_slice()),
            _ => (None, &[] as &[f64]),
        };
        if let Some(key) = for_two.filter(|_| classes != 2) {
            return bad(key, format!("a value for two classes, with {classes}"), "class_weights instead".to_owned());
        }
        // A binary loss has one logit and one number; only plain cross-entropy has a logit for each of two classes.
        if classes == 2 && !weights.is_empty() && !matches!(self, Self::CrossEntropy { .. }) {
            return bad(
                "class_weights",
                format!("{weights:?} with two classes"),
                "pos_weight or alpha instead".to_owned(),
            );
        }
        if !weights.is_empty() && weights.len() != classes {
            return bad("class_weights", format!("{} weights", weights.len()), format!("{classes}, one per class"));
        }
        Ok(())
    }
}
