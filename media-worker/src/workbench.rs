//! The worker's side of a child: started when there is work, used again and again, ended when it fails or takes too long.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::frames::{self, Order, Word};
use crate::limits::Limits;
use crate::pipeline::{Made, Recipe, Step, Variant};
use crate::refusal::Refusal;

/// A child is replaced after so many pictures, so that what its allocator scatters never adds up.
const ORDERS_MAX: u32 = 500;

/// What a child says in its last moments is kept up to this.
const LAST_WORDS_BYTES: usize = 2_000;

/// What the allocators of a child are told: mimalloc, which has what is ours, and glibc, which has what the codecs ask for.
const ALLOCATORS: [(&str, &str); 3] = [
    // It would take a gibibyte of addresses in advance, and with it all that the child may have.
    ("MIMALLOC_DISALLOW_ARENA_ALLOC", "1"),
    // Bytes. The codecs' buffers stay for the next file; to fetch them from the kernel again, page by page, is 3 % of a photograph's time. What is larger is given back at
    // once: where everything was kept, the largest pictures found no room beside it.
    ("MALLOC_MMAP_THRESHOLD_", "8388608"),
    ("MALLOC_TRIM_THRESHOLD_", "16777216"),
];

/// How a child is started: a program and arguments that lead to [`crate::run_child`].
#[derive(Debug, Clone)]
pub struct ChildCommand {
    /// Usually this very program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// All that it finds in its environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl ChildCommand {
    /// With an environment that holds nothing but what allocators need to know.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let environment = ALLOCATORS.map(|(name, value)| (name.into(), value.into())).into();
        Self { program: program.into(), arguments, environment }
    }
}

/// Why a child made nothing.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The picture's fault: the same again will be refused again.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A decoder or encoder failed, or panicked.
    #[error("{0}")]
    Fault(String),
    /// The child is gone: out of memory, or crashed.
    #[error("the process that decoded it ended ({how}){}", said(.last_words))]
    Died {
        /// Status or signal.
        how: String,
        /// What it wrote last.
        last_words: String,
    },
    /// The deadline has passed.
    #[error("decoding it took longer than {0:?}")]
    Late(Duration),
    /// No child could be started: this machine's fault, the picture was not tried.
    #[error("no process could be started to decode it: {0}")]
    Start(io::Error),
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words}") }
}

/// A place for one child. One picture at a time.
pub struct Workbench {
    command: ChildCommand,
    limits: Limits,
    /// For one picture.
    deadline: Duration,
    child: Option<Running>,
}

struct Running {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    last_words: JoinHandle<String>,
    orders: u32,
}

impl Workbench {
    /// No child is started yet.
    pub fn new(command: ChildCommand, limits: Limits, deadline: Duration) -> Self {
        Self { command, limits, deadline, child: None }
    }

    /// Process id of the child, if there is one.
    pub fn child_id(&self) -> Option<u32> {
        self.child.as_ref().and_then(|running| running.child.id())
    }

    /// Has a picture made; tells how far it is. If this is dropped halfway the child is killed, and the next picture gets a new one.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn process(
        &mut self,
        picture: &[u8],
        recipe: &Recipe,
        mut on_step: impl FnMut(Step),
    ) -> Result<Made, Trouble> {
        let fresh = self.child.take().filter(|running| running.orders < ORDERS_MAX);
        let mut running = match fresh {
            Some(running) => running,
            None => start(&self.command).map_err(Trouble::Start)?,
        };
        running.orders += 1;
        let order = Order { recipe: recipe.clone(), limits: self.limits, cpu_s: self.deadline.as_secs() };
        let made = tokio::time::timeout(self.deadline, running.make(&order, picture, &mut on_step)).await;
        match made {
            Ok(Ok(Ok(made))) => {
                self.child = Some(running);
                Ok(made)
            }
            Ok(Ok(Err(Trouble::Refused(refusal)))) => {
                self.child = Some(running);
                Err(refusal.into())
            }
            // After a fault it is not known what is left behind.
            Ok(Ok(Err(trouble))) => Err(trouble),
            Ok(Err(broken)) => Err(running.post_mortem(&broken).await),
            Err(_) => Err(Trouble::Late(self.deadline)),
        }
    }
}

impl Running {
    /// The outer error is that of the line.
    async fn make(
        &mut self,
        order: &Order,
        picture: &[u8],
        on_step: &mut impl FnMut(Step),
    ) -> io::Result<Result<Made, Trouble>> {
        frames::send(&mut self.input, order, picture).await?;
        let mut variants = Vec::new();
        loop {
            let (word, bytes) = frames::receive(&mut self.output).await?;
            match word {
                Word::Step(step) => on_step(step),
                Word::Variant { format, width, height } => variants.push(Variant { format, width, height, bytes }),
                Word::Done { thumb_hash, colour, source_width, source_height } => {
                    return Ok(Ok(Made { variants, thumb_hash, colour, source_width, source_height }));
                }
                Word::Refused(refusal) => return Ok(Err(refusal.into())),
                Word::Fault(fault) => return Ok(Err(Trouble::Fault(fault))),
            }
        }
    }

    /// What there is to learn of a child whose line broke.
    async fn post_mortem(mut self, broken: &io::Error) -> Trouble {
        // It may live still, and only talk nonsense.
        let _ = self.child.start_kill();
        let how = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let how = if broken.kind() == io::ErrorKind::UnexpectedEof { how } else { format!("{how}, {broken}") };
        Trouble::Died { how, last_words: self.last_words.await.unwrap_or_default() }
    }
}

fn start(command: &ChildCommand) -> io::Result<Running> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        // No secret of this process is any business of a decoder.
        .env_clear()
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(input), Some(output), Some(mut errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("the child has no input or output"));
    };
    let last_words = tokio::spawn(async move {
        let (mut kept, mut piece) = (Vec::new(), [0; 512]);
        while let Ok(length @ 1..) = errors.read(&mut piece).await {
            kept.extend_from_slice(&piece[..length]);
            let beyond = kept.len().saturating_sub(LAST_WORDS_BYTES);
            kept.drain(..beyond);
        }
        String::from_utf8_lossy(&kept).split_whitespace().collect::<Vec<_>>().join(" ")
    });
    Ok(Running { child, input, output: BufReader::new(output), last_words, orders: 0 })
}
