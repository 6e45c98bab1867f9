//! One image from stdin, its prediction to stdout (or with `-o` into a folder, as `stdin_mask.png` and so on).

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use unet_data::codec::Format;
use unet_data::open_images_as;
use unet_train::Predictor;
use unet_train::objects::InstanceConfig;
use unet_train::predict::{Existing, Output, OutputOptions, predict_files};

use crate::args::PredictArgs;
use crate::terminal::Terminal;

/// A folder that goes when this does.
struct Scratch(PathBuf);

/// Predicts what stdin holds.
pub fn run(
    args: &PredictArgs,
    (objects, existing): (Option<InstanceConfig>, Existing),
    predictor: &mut Predictor,
    terminal: &Terminal,
) -> Result<ExitCode> {
    if args.input.len() > 1 {
        bail!("-: stdin is one image and stands alone; name files, or pipe them in one by one");
    }
    let extra: Vec<Output> = args.save.0.iter().copied().filter(|output| *output != Output::Mask).collect();
    if args.out.is_none() && (extra.len() > 1 || extra.contains(&Output::Instances)) {
        bail!("-: stdout takes one file; ask for one of {}, or say where to write with -o DIR", names(&extra));
    }
    let scratch = Scratch::new()?;
    let file = scratch.0.join("stdin");
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read stdin")?;
    // A name that says what it is; images are told by their first bytes.
    if Format::of_bytes(&bytes).is_none() {
        bail!("stdin: {} bytes that are no image; expected PNG, JPEG, BMP, PNM, TIFF or .npy", bytes.len());
    }
    std::fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    let inputs = open_images_as(&[file], args.axes.unwrap_or_default())?;
    let (dir, existing) = match &args.out {
        Some(dir) => (dir.clone(), existing),
        None => (scratch.0.join("out"), Existing::Refuse),
    };
    let outputs =
        OutputOptions { existing, prob_16: args.prob16, objects, ..OutputOptions::new(dir, args.save.0.clone()) };
    let written = predict_files(predictor, &inputs, &outputs, &mut |_| ())?;
    if args.out.is_some() && written.iter().all(|w| w.files.is_empty()) {
        terminal.line("Skipped stdin: all of it is there".to_owned());
        return Ok(ExitCode::SUCCESS);
    }
    if args.out.is_some() {
        terminal.line(format!("Predicted stdin: {} in {}", names(&args.save.0), outputs.dir.display()));
        return Ok(ExitCode::SUCCESS);
    }
    // The mask comes first, and what was asked for beside it last.
    let wanted = written.iter().flat_map(|w| &w.files).last().context("nothing was written")?;
    copy_to_stdout(wanted)?;
    Ok(ExitCode::SUCCESS)
}

fn copy_to_stdout(file: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut out = std::io::stdout().lock();
    out.write_all(&bytes).and_then(|()| out.flush()).context("cannot write to stdout")
}

fn names(outputs: &[Output]) -> String {
    outputs.iter().map(|output| output.name()).collect::<Vec<_>>().join(", ")
}

impl Scratch {
    fn new() -> Result<Self> {
        let base = std::env::temp_dir();
        for n in 0..1000 {
            let path = base.join(format!("unet-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        bail!("{}: cannot make a folder here, for all names are taken", base.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What the system keeps of it, it clears away itself; there is nobody left to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
