//! The child's side: orders come in, words go out, one after the other, until there is no more input.
//!
//! It runs without a runtime and without threads, in as little memory as its limit says, and can neither write a file nor open another
//! than it has. A decoder that goes wrong here takes one try of one picture with it.

use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::frames::{self, Order, Word};
use crate::limits::Limits;
use crate::pipeline::{Failure, Made, Recipe, Step, process};

/// What is done to a picture: [`process`], or in tests something that fails.
pub type Pipeline = fn(&[u8], &Recipe, &Limits, &mut dyn FnMut(Step)) -> Result<Made, Failure>;

/// Files that are open already; nothing more is needed.
const FILES_MAX: u64 = 16;

/// Runs a child on this process's input and output until the input ends. `memory_bytes` is what its heap may hold.
pub fn run(memory_bytes: u64, pipeline: Option<Pipeline>) -> ExitCode {
    let pipeline = pipeline.unwrap_or(|bytes, recipe, limits, on_step| process(bytes, recipe, limits, on_step));
    if let Err(error) = confine(memory_bytes) {
        eprintln!("the child's limits could not be set: {error}");
        return ExitCode::FAILURE;
    }
    match serve(&mut io::stdin().lock(), &mut BufWriter::new(io::stdout().lock()), pipeline) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the child's line broke: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Limits that hold for the rest of this process.
fn confine(memory_bytes: u64) -> io::Result<()> {
    // Private memory that can be written: what a heap is made of, whichever allocator. What is only reserved does not count.
    for (resource, limit) in
        [(Resource::Data, memory_bytes), (Resource::Core, 0), (Resource::Fsize, 0), (Resource::Nofile, FILES_MAX)]
    {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(())
}

/// The kernel ends a process that has used so much more processor time, even if nobody is left to do it.
fn allow_cpu(seconds: u64) -> io::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    let maximum = getrlimit(Resource::Cpu).maximum;
    Ok(setrlimit(Resource::Cpu, Rlimit { current: Some(used + seconds + 1), maximum })?)
}

fn serve(input: &mut impl io::Read, output: &mut impl Write, pipeline: Pipeline) -> io::Result<()> {
    while let Some((order, bytes)) = frames::read::<Order>(input)? {
        allow_cpu(order.cpu_s)?;
        let mut line = Ok(());
        let mut tell = |word: &Word, body: &[u8]| {
            if line.is_ok() {
                line = frames::write(output, word, body);
            }
        };
        let made = catch_unwind(AssertUnwindSafe(|| {
            pipeline(&bytes, &order.recipe, &order.limits, &mut |step| tell(&Word::Step(step), &[]))
        }));
        match made {
            Ok(Ok(made)) => {
                for variant in &made.variants {
                    let (format, width, height) = (variant.format, variant.width, variant.height);
                    tell(&Word::Variant { format, width, height }, &variant.bytes);
                }
                let Made { thumb_hash, colour, source_width, source_height, .. } = made;
                tell(&Word::Done { thumb_hash, colour, source_width, source_height }, &[]);
            }
            Ok(Err(Failure::Refused(refusal))) => tell(&Word::Refused(refusal), &[]),
            Ok(Err(Failure::Fault(fault))) => tell(&Word::Fault(fault), &[]),
            // What the panic has left behind is not to be trusted: the next order goes to a new child.
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
                tell(&Word::Fault(format!("a decoder panicked: {said}")), &[]);
                return line;
            }
        }
        line?;
    }
    Ok(())
}
