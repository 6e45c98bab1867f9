//! How far a pixel reaches, measured: the response of an all-positive network to a single bright pixel.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use candle_core::{Device, Tensor};
use unet_model::backend::candle;
use unet_model::geometry::{even_multiple, reach};
use unet_model::{ParamKind, Parameters, UNet, UNetConfig, Upsampling};

const ROWS: usize = 96;

/// No influence cancels another, and black stays black.
fn positive(upsampling: Upsampling, depth: usize) -> UNet {
    let config = UNetConfig { width: 2, depth, upsampling, ..UNetConfig::tutorial() };
    let params = Parameters::new(&config, |spec| {
        let value = match spec.kind {
            ParamKind::Kernel => 0.5,
            ParamKind::NormScale | ParamKind::RunningVar => 1.0,
            ParamKind::Bias | ParamKind::NormShift | ParamKind::RunningMean => 0.0,
        };
        vec![value; spec.len()]
    });
    UNet::from_parameters(config, params.unwrap()).unwrap()
}

/// How many rows up or down of a bright pixel in `row` a logit is not 0.
fn response(model: &UNet, row: usize) -> usize {
    let mut x = vec![0.0; ROWS * 8];
    x[row * 8 + 4] = 1.0f32;
    let x = Tensor::from_vec(x, (1, 1, ROWS, 8), &Device::Cpu).unwrap();
    let y = candle::forward(model, &x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let lit = (0..ROWS).filter(|r| y[r * 8..(r + 1) * 8].iter().any(|v| *v != 0.0));
    let (first, last) = lit.fold((ROWS, 0), |(first, last), r| (first.min(r), last.max(r)));
    assert!(first > 0 && last < ROWS - 1, "the image is too small to see the end of it");
    (row - first).max(last - row)
}

#[test]
fn reach_is_what_the_network_does() {
    for depth in [1, 2] {
        for upsampling in [Upsampling::Bilinear, Upsampling::Transposed] {
            let model = positive(upsampling, depth);
            let rows = ROWS / 2..ROWS / 2 + even_multiple(model.config());
            let measured = rows.map(|row| response(&model, row)).max().unwrap();
            let stated = reach(model.config());
            match upsampling {
                Upsampling::Transposed => assert_eq!(measured, stated, "depth {depth}"),
                _ => assert!(measured <= stated && stated <= measured + 2 * depth * 2, "{measured}, stated {stated}"),
            }
        }
    }
}
