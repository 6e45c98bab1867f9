//! An image too large to hold: `unet predict` of drawn TIFFs with a network of width 8, mask alone, ours alone, by the profile that `cargo run`
//! builds. Takes the arguments (`--cases` chooses the side); prints seconds, megapixels a second, processor time and peak memory.

use super::Args;
use super::cases::choose;
use super::machine::Machine;
use super::worker::{peak_mb, processor_seconds};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sides in pixels; the larger ones are measured where they are named.
const SIDES: [u32; 3] = [4096, 16384, 20000];
/// What is measured where nothing is named.
const UNASKED: &str = "16384";
/// Rows of a strip of the image file.
const STRIP: u32 = 64;
/// Between two looks at the program's memory.
const LOOK: Duration = Duration::from_millis(50);

/// One prediction; what the system does not tell is missing.
#[derive(Debug, Serialize)]
struct Row {
    side: u32,
    seconds: f64,
    processor_seconds: Option<f64>,
    peak_mb: Option<f64>,
}

/// Trains a narrow network for a step or two, and predicts.
pub fn run(args: &Args) -> Result<()> {
    let sides = choose("side", SIDES.to_vec(), u32::to_string, Some(args.cases.as_deref().unwrap_or(UNASKED)))?;
    let root = workspace::root()?;
    process::run(workspace::cargo(&root).args(["build", "--locked", "--package", "unet-cli"]))?;
    let target = workspace::target_dir(&root)?;
    let program = target.join("debug").join(format!("unet{}", std::env::consts::EXE_SUFFIX));
    let place = target.join("bench-large");
    if place.exists() {
        std::fs::remove_dir_all(&place).with_context(|| place.display().to_string())?;
    }
    let model = place.join("run");
    let mut train = Command::new(&program);
    train.args(["train", "synthetic", "--width", "8", "--epochs", "1", "--no-report", "--quiet", "--out"]).arg(&model);
    process::run(&mut train)?;
    let mut rows = Vec::new();
    for side in sides {
        let image = place.join(format!("{side}.tif"));
        draw(&image, side).with_context(|| image.display().to_string())?;
        for _ in 0..args.runs {
            eprintln!("{side}x{side}");
            let mut predict = Command::new(&program);
            predict.arg("predict").arg(&model).arg(&image).args(["--tta", "none", "--force"]);
            predict.args(args.threads.iter().flat_map(|n| ["--threads".to_owned(), n.to_string()]));
            rows.push(measure(predict.arg("--out").arg(place.join("masks")), side)?);
        }
    }
    if let Some(file) = &args.json {
        let kept = serde_json::json!({"machine": Machine::look(), "rows": rows});
        std::fs::write(file, serde_json::to_string_pretty(&kept)? + "\n")
            .with_context(|| file.display().to_string())?;
    }
    println!("{}", table(&rows));
    Ok(())
}

fn measure(command: &mut Command, side: u32) -> Result<Row> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().context("cannot start unet")?;
    let (mut spent, mut peak) = (None, None);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        // What a program that has ended no longer tells keeps its last value; both only grow.
        spent = processor_seconds(child.id()).or(spent);
        peak = peak_mb(child.id()).or(peak);
        std::thread::sleep(LOOK);
    };
    let seconds = began.elapsed().as_secs_f64();
    if !status.success() {
        bail!("unet predict failed ({status})");
    }
    Ok(Row { side, seconds, processor_seconds: spent, peak_mb: peak })
}

/// Writes an uncompressed 8-bit TIFF of rings, strip by strip.
fn draw(path: &Path, side: u32) -> Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let strips = side.div_ceil(STRIP);
    let rows_of = |strip: u32| STRIP.min(side - strip * STRIP);
    // Behind the header of 8 bytes the nine fields, then the lists of the strips' places and lengths, then the strips.
    let places = 8 + 2 + 9 * 12 + 4;
    let pixels = places + 8 * strips;
    let (short, long) = (3u16, 4u16);
    let fields = [
        (256u16, long, 1, side),
        (257, long, 1, side),
        (258, short, 1, 8),
        (259, short, 1, 1),
        (262, short, 1, 1),
        (273, long, strips, places),
        (277, short, 1, 1),
        (278, long, 1, STRIP),
        (279, long, strips, places + 4 * strips),
    ];
    file.write_all(b"II\x2a\0\x08\0\0\0\x09\0")?;
    for (tag, kind, count, value) in fields {
        file.write_all(
            &[&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat(),
        )?;
    }
    file.write_all(&0u32.to_le_bytes())?;
    for strip in 0..strips {
        file.write_all(&(pixels + strip * STRIP * side).to_le_bytes())?;
    }
    for strip in 0..strips {
        file.write_all(&(rows_of(strip) * side).to_le_bytes())?;
    }
    for y in 0..u64::from(side) {
        let value = |x: u64| (((x * x + y * y) / 97 % 256 + (x * y) / 61 % 256) / 2) as u8;
        file.write_all(&(0..u64::from(side)).map(value).collect::<Vec<u8>>())?;
    }
    Ok(file.flush()?)
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| image | s | megapixels a second | processor time, s | peak MB |\n|---|--:|--:|--:|--:|\n".to_owned();
    let or_unknown = |value: Option<f64>| value.map_or_else(|| "?".to_owned(), |v| format!("{v:.0}"));
    for Row { side, seconds, processor_seconds, peak_mb } in rows {
        let rate = f64::from(*side).powi(2) / 1e6 / seconds;
        let (spent, peak) = (or_unknown(*processor_seconds), or_unknown(*peak_mb));
        text += &format!("| {side}×{side} | {seconds:.1} | {rate:.2} | {spent} | {peak} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gives_the_rate() {
        let row = Row { side: 2000, seconds: 2.0, processor_seconds: Some(3.0), peak_mb: None };
        assert!(table(&[row]).ends_with("| 2000×2000 | 2.0 | 2.00 | 3 | ? |\n"));
    }

    #[test]
    fn the_strips_lie_where_the_file_says() {
        let place = tempfile::tempdir().expect("a folder");
        let path = place.path().join("a.tif");
        draw(&path, 200).expect("written");
        let bytes = std::fs::read(&path).expect("there");
        let at = |place: usize| u32::from_le_bytes(bytes[place..place + 4].try_into().expect("four bytes")) as usize;
        // Four strips: 64, 64, 64 and 8 rows of 200 pixels.
        let (places, lengths) = (122, 122 + 16);
        assert_eq!((at(8 + 2 + 5 * 12 + 8), at(8 + 2 + 8 * 12 + 8)), (places, lengths));
        assert_eq!([0, 1, 2, 3].map(|s| at(lengths + 4 * s)), [12800, 12800, 12800, 1600]);
        assert_eq!(at(places + 12) + at(lengths + 12), bytes.len());
        let (x, y) = (150, 130);
        assert_eq!(usize::from(bytes[at(places) + y * 200 + x]), ((x * x + y * y) / 97 % 256 + (x * y) / 61 % 256) / 2);
    }
}
