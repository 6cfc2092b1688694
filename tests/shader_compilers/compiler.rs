//! A compiler in a process of its own, which answers a line with a verdict, and is killed where it does not.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Seconds of processor time that an entry point may take. A user waits as long when it is first needed.
const LIMIT: f64 = 10.0;
/// When a process that does not answer is killed, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a process may take to start: wine fills a new folder first.
const START: Duration = Duration::from_secs(120);

/// A program with its arguments, the folder that it runs in, and what it finds in its environment.
pub struct Program {
    pub line: Vec<OsString>,
    pub folder: PathBuf,
    pub environment: Vec<(&'static str, OsString)>,
}

/// Processes of one program, started as they are needed.
pub struct Compiler {
    program: Program,
    idle: Mutex<Vec<Process>>,
    /// One at a time: the first one in a new folder of wine fills it.
    starting: Mutex<()>,
}

impl Compiler {
    pub fn new(program: Program) -> Self {
        Self { program, idle: Mutex::default(), starting: Mutex::default() }
    }

    /// Seconds that a request took, or what the compiler said against it. A process that breaks down says nothing of the
    /// request, so it goes to a new one, once.
    pub fn ask(&self, request: &str) -> Result<f64, String> {
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let first = kept.map_or_else(|| self.start(), Ok).and_then(|process| self.verdict(process, request));
        let Verdict { accepted, said, mut seconds } = first.or_else(|broken| {
            eprintln!("{request}: {broken}; once more");
            self.verdict(self.start()?, request)
        })?;
        // On a busy machine even processor time doubles: what other work adds is no time of the compiler's.
        if accepted && seconds > LIMIT {
            seconds = seconds.min(self.verdict(self.start()?, request)?.seconds);
        }
        match accepted {
            true if seconds <= LIMIT => Ok(seconds),
            true => Err(format!("{seconds:.1} s, of {LIMIT} s at most")),
            false => Err(said),
        }
    }

    fn start(&self) -> Result<Process, String> {
        let _alone = self.starting.lock().unwrap_or_else(PoisonError::into_inner);
        Process::start(&self.program)
    }

    /// What a process makes of a request. One that breaks down is ended.
    fn verdict(&self, mut process: Process, request: &str) -> Result<Verdict, String> {
        writeln!(process.input, "{request}").map_err(|error| error.to_string())?;
        let verdict = process.verdict(PATIENCE)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(process);
        Ok(verdict)
    }
}

/// What a compiler made of a request.
struct Verdict {
    accepted: bool,
    said: String,
    seconds: f64,
}

struct Process {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(program: &Program) -> Result<Self, String> {
        let mut command = Command::new(&program.line[0]);
        command.args(&program.line[1..]).current_dir(&program.folder).envs(program.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("{:?}: {error}", program.line[0]))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        let (sender, lines) = channel();
        // Ends with the process.
        thread::spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        let mut process = Self { child, input, lines };
        let Verdict { accepted, said, .. } = process.verdict(START)?;
        if accepted { Ok(process) } else { Err(said) }
    }

    /// Lines up to `ok SECONDS` or `failed SECONDS`. A process that fails here is not to be asked again.
    fn verdict(&mut self, limit: Duration) -> Result<Verdict, String> {
        let (begun, mut said) = (Instant::now(), String::new());
        loop {
            let line = match self.lines.recv_timeout(limit.saturating_sub(begun.elapsed())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(format!("{said}no answer in {limit:?}")),
                Err(RecvTimeoutError::Disconnected) => return Err(format!("{said}the compiler ended")),
            };
            let line = line.trim_end();
            let (word, seconds) = line.split_once(' ').unwrap_or_default();
            match (word, seconds.parse()) {
                ("ok" | "failed", Ok(seconds)) => return Ok(Verdict { accepted: word == "ok", said, seconds }),
                _ => said += &format!("{line}\n"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
