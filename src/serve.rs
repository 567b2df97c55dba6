//! `shvd serve`: settings first, then the sampler, then the server; reload on SIGHUP, drain on SIGTERM.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shv_machine::processes::{Selector, Watch};
use shv_machine::source::temperatures::WithTemperatures;
use shv_machine::source::{self, replay, vm_stat};
use shv_machine::{Source, SourceError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{Config, ConfigError, LogFormat, LogLevel, SourceKind, WatchBy, WebConfig};
use crate::engine::Runs;
use crate::history::History;
use crate::http::{self, Access, Gate, ReloadRequest, Shared};
use crate::metrics::{Activity, Exposition};
use crate::reservations::Reservations;
use crate::sampler::{self, Order, Pace, Reading};

/// How long a run may take to give its memory back when the daemon ends.
const RUN_END_TIME_MAX: Duration = Duration::from_secs(3);

/// Why the daemon did not come up, or went down.
#[derive(Debug)]
pub enum ServeError {
    /// The settings were refused.
    Config(ConfigError),
    /// The source cannot be read at all.
    Source(String),
    /// The address cannot be listened on, or signals cannot be had.
    Io(String),
}

impl fmt::Display for ServeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(out),
            Self::Source(why) | Self::Io(why) => out.write_str(why),
        }
    }
}

impl From<ConfigError> for ServeError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// Settings and what follows from them, all checked before anything is bound.
pub struct Settings {
    config: Config,
    gate: Gate,
}

impl Settings {
    /// Reads `file`, or takes the defaults without one, with the web-config file and certificates it names.
    ///
    /// # Errors
    /// The first thing that is wrong with any of them.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let config = file.map_or_else(|| Ok(Config::default()), Config::load)?;
        let web = match &config.listen.web_config {
            Some(path) => WebConfig::load(path)?,
            None => WebConfig::default(),
        };
        let tls = web
            .tls_server_config
            .as_ref()
            .map(http::acceptor)
            .transpose()?;
        let access = Access::new(&config, &web)?;
        Ok(Self {
            gate: Gate { access, tls },
            config,
        })
    }

    /// The settings themselves.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Starts writing the log to standard error, as the settings ask for.
pub fn start_log(config: &Config) {
    let level = match config.log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_target(false);
    // A second start in one process (tests) keeps the first.
    let _ = match config.log.format {
        LogFormat::Text => tracing::subscriber::set_global_default(
            builder
                .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
                .finish(),
        ),
        LogFormat::Json => tracing::subscriber::set_global_default(builder.json().finish()),
    };
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it cannot come up.
pub fn run(file: Option<PathBuf>, settings: Settings) -> Result<(), ServeError> {
    // Two threads: one may be in the kernel or hashing a password while the other answers.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(4)
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|e| ServeError::Io(format!("the runtime cannot be started: {e}")))?;
    let ended = runtime.block_on(serve(file, settings));
    // A source that hangs in the kernel must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

async fn serve(file: Option<PathBuf>, settings: Settings) -> Result<(), ServeError> {
    let Settings { config, gate } = settings;
    let address = config.listen.address;
    let source = opened(&config).await.map_err(ServeError::Source)?;
    let failed = |e: io::Error| ServeError::Io(format!("listen.address: {address}: {e}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;

    let (latest, readings) = watch::channel(Arc::new(Reading::none_yet()));
    let (orders, ordered) = mpsc::channel(1);
    tokio::spawn(sampler::run(source, pace_of(&config), ordered, latest));

    let history = Arc::new(Mutex::new(History::default()));
    tokio::spawn(remember(readings.clone(), history.clone()));

    let directory = config.state_directory.clone();
    let reservations = tokio::task::spawn_blocking(move || Reservations::open(directory)).await;
    let reservations = Arc::new(reservations.map_err(|e| ServeError::Io(e.to_string()))?);
    tokio::spawn(follow(readings.clone(), reservations.clone()));

    let activity = Arc::new(Activity::default());
    let (settings_in, settings_out) = watch::channel(Arc::new(config));
    let (gate_in, gate_out) = watch::channel(Arc::new(gate));
    let runs = Arc::new(Runs::new(settings_out.borrow().state_directory.clone()));
    let exposition = Exposition::new(
        readings.clone(),
        settings_out.clone(),
        activity.clone(),
        reservations.clone(),
        runs.clone(),
    );
    let exposition =
        exposition.map_err(|e| ServeError::Io(format!("the table of metrics: {e}")))?;
    let (reload, asked) = mpsc::channel(4);
    let (end, ended) = watch::channel(false);
    let shared = Arc::new(Shared {
        settings: settings_out,
        gate: gate_out,
        readings,
        activity: activity.clone(),
        exposition,
        history,
        reservations,
        reload: reload.clone(),
        followers: Arc::new(AtomicUsize::new(0)),
        runs: runs.clone(),
        ended: ended.clone(),
    });
    let reloader = Reloader {
        file,
        settings: settings_in,
        gate: gate_in,
        orders,
        activity,
    };
    tokio::spawn(reloader.run(asked));

    tokio::spawn(signals(reload, end)?);
    tracing::info!(%bound, "listening");
    http::serve(listener, shared, ended).await;
    // Whatever is under way gives its memory back in order; where that hangs, the end of this process makes it.
    let _ = tokio::task::spawn_blocking(move || runs.end(RUN_END_TIME_MAX)).await;
    tracing::info!("ended");
    Ok(())
}

fn pace_of(config: &Config) -> Pace {
    Pace {
        interval: Duration::from_millis(config.sampling.interval_ms.get()),
        timeout: Duration::from_millis(config.sampling.timeout_ms.get()),
    }
}

/// The source that the settings name. Opening a file may block for as long as its disk likes.
async fn opened(config: &Config) -> Result<Box<dyn Source>, String> {
    let config = config.clone();
    tokio::task::spawn_blocking(move || source_of(&config))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())
}

/// The source that the settings name, temperatures included where they are wanted.
fn source_of(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    let source = memory_source(config)?;
    // A recording has its own.
    if config.collectors.temperatures && config.source.kind != SourceKind::Replay {
        return Ok(Box::new(WithTemperatures::new(source)));
    }
    Ok(source)
}

fn memory_source(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    let watches: Vec<Watch> = config
        .watch
        .iter()
        .map(|watch| Watch {
            label: watch.label.clone(),
            selector: match &watch.by {
                WatchBy::Name(name) => Selector::Name(name.clone()),
                WatchBy::Pid(pid) => Selector::Pid(*pid),
                WatchBy::Port(port) => Selector::Port(*port),
            },
        })
        .collect();
    match (config.source.kind, &config.source.file) {
        (SourceKind::Replay, Some(file)) => recorded(file),
        (SourceKind::Procfs, _) => Ok(Box::new(source::procfs::Procfs::new(
            Path::new("/"),
            watches,
        ))),
        _ => source::native(watches),
    }
}

/// A recording: `vm_stat` text, or one sample a line.
fn recorded(file: &Path) -> Result<Box<dyn Source>, SourceError> {
    let failed = |error| SourceError::Io {
        path: file.to_owned(),
        error,
    };
    let name = file.display().to_string();
    // Looked at and not read, so that a pipe can be followed too.
    let mut opened = io::BufReader::new(std::fs::File::open(file).map_err(failed)?);
    if io::BufRead::fill_buf(&mut opened)
        .map_err(failed)?
        .starts_with(b"{")
    {
        return Ok(Box::new(replay::Replay::new(
            opened,
            &name,
            replay::Pace::AsRecorded,
        )));
    }
    Ok(Box::new(vm_stat::VmStatText::new(opened, &name)?))
}

/// Keeps each good sample.
async fn remember(mut readings: watch::Receiver<Arc<Reading>>, history: Arc<Mutex<History>>) {
    while readings.changed().await.is_ok() {
        let reading = readings.borrow_and_update().clone();
        if let Ok(sample) = &reading.outcome {
            history
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(sample);
        }
    }
}

/// Takes each reading into account for what is reserved.
async fn follow(mut readings: watch::Receiver<Arc<Reading>>, reservations: Arc<Reservations>) {
    while readings.changed().await.is_ok() {
        let reading = readings.borrow_and_update().clone();
        if reservations.is_idle() {
            continue;
        }
        let reservations = reservations.clone();
        let observed = tokio::task::spawn_blocking(move || reservations.observe(&reading)).await;
        if let Err(error) = observed {
            tracing::error!("a reading could not be held against reservations: {error}");
        }
    }
}

/// SIGHUP asks for a reload, SIGTERM and SIGINT for the end.
fn signals(
    reload: mpsc::Sender<ReloadRequest>,
    end: watch::Sender<bool>,
) -> Result<impl Future<Output = ()>, ServeError> {
    let had =
        |kind| signal(kind).map_err(|e| ServeError::Io(format!("a signal cannot be had: {e}")));
    let (mut hup, mut term, mut int) = (
        had(SignalKind::hangup())?,
        had(SignalKind::terminate())?,
        had(SignalKind::interrupt())?,
    );
    Ok(async move {
        loop {
            tokio::select! {
                _ = hup.recv() => {
                    let (answer, _) = oneshot::channel();
                    if reload.send(answer).await.is_err() {
                        return;
                    }
                }
                _ = term.recv() => break,
                _ = int.recv() => break,
            }
        }
        tracing::info!("asked to end");
        end.send_replace(true);
    })
}

/// Reads the settings again, all or nothing.
struct Reloader {
    file: Option<PathBuf>,
    settings: watch::Sender<Arc<Config>>,
    gate: watch::Sender<Arc<Gate>>,
    orders: mpsc::Sender<Order>,
    activity: Arc<Activity>,
}

impl Reloader {
    async fn run(self, mut asked: mpsc::Receiver<ReloadRequest>) {
        while let Some(answer) = asked.recv().await {
            let result = self.reload().await;
            self.activity.reloaded(result.is_ok());
            match &result {
                Ok(()) => tracing::info!("settings were read and are in force"),
                Err(why) => {
                    tracing::error!("settings were refused, those before stay in force: {why}");
                }
            }
            // Whoever asked may be gone, as after SIGHUP.
            let _ = answer.send(result);
        }
    }

    async fn reload(&self) -> Result<(), String> {
        let file = self.file.clone();
        let loaded = tokio::task::spawn_blocking(move || Settings::load(file.as_deref())).await;
        let Settings { config, gate } = loaded
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        let before = self.settings.borrow().clone();
        if config.listen.address != before.listen.address {
            return Err(format!(
                "listen.address: changing it from {} to {} needs a restart",
                before.listen.address, config.listen.address
            ));
        }
        if config.state_directory != before.state_directory {
            return Err("state_directory: changing it needs a restart".to_owned());
        }
        let same_source = config.source == before.source
            && config.watch == before.watch
            && config.collectors.temperatures == before.collectors.temperatures;
        let source = if same_source {
            None
        } else {
            Some(opened(&config).await?)
        };
        let order = Order {
            source,
            pace: pace_of(&config),
        };
        self.orders
            .send(order)
            .await
            .map_err(|_| "the sampler has ended".to_owned())?;
        self.gate.send_replace(Arc::new(gate));
        self.settings.send_replace(Arc::new(config));
        Ok(())
    }
}
