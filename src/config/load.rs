//! Reading settings files: bounded, strict, and complete before anything is bound or started.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::{Config, ConfigError, SourceKind, WebConfig};

/// Largest settings file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl Config {
    /// Reads and checks `file`. Relative paths in it are taken from the folder it lies in.
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML, has an unknown key or a value that is not accepted.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read_text(file)?;
        let mut config = Self::parse(file, &text)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        for path in [
            &mut config.listen.web_config,
            &mut config.source.file,
            &mut config.state_directory,
        ] {
            *path = path.take().map(|path| folder.join(path));
        }
        for setting in &config.plans {
            let planned = crate::plans::work_out(setting, folder)
                .map_err(|problem| ConfigError::of_key(file, &text, "plans", &problem))?;
            config.planned.push(planned);
        }
        Ok(config)
    }

    /// Checks `text`, which was read from `file`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = parse_yaml(file, text)?;
        if let Err(error) = config.pressure.check() {
            let key = format!("pressure.{}", error.field);
            return Err(ConfigError::of_key(file, text, &key, &error.why()));
        }
        match config.problem() {
            Some((key, problem)) => Err(ConfigError::of_key(file, text, key, &problem)),
            None => Ok(config),
        }
    }

    /// The first pair of settings that contradict each other: its key and why.
    fn problem(&self) -> Option<(&'static str, String)> {
        if self.source.kind == SourceKind::Replay && self.source.file.is_none() {
            return Some(("source.kind", "`replay` needs `source.file`".into()));
        }
        if self.source.kind != SourceKind::Replay && self.source.file.is_some() {
            return Some((
                "source.file",
                "is only read when `source.kind` is `replay`".into(),
            ));
        }
        let (interval, stale) = (
            self.sampling.interval_ms.get(),
            self.sampling.stale_after_ms.get(),
        );
        if stale <= interval {
            return Some((
                "sampling.stale_after_ms",
                format!(
                    "{stale} is not above sampling.interval_ms ({interval}): every sample would count as absent"
                ),
            ));
        }
        for host in &self.listen.allowed_hosts {
            if host.is_empty() || host.contains([':', '/', ' ', '*']) {
                return Some((
                    "listen.allowed_hosts",
                    format!(
                        "{host:?} is not a host name; write it without scheme, port or pattern, as in mac.example.org"
                    ),
                ));
            }
        }
        for origin in &self.listen.allowed_origins {
            let host = origin
                .strip_prefix("http://")
                .or(origin.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', ' ', '*'])) {
                return Some((
                    "listen.allowed_origins",
                    format!(
                        "{origin:?} is not an origin; write scheme and host, as in https://mac.example.org"
                    ),
                ));
            }
        }
        let mut names: Vec<_> = self.plans.iter().map(|plan| &plan.name).collect();
        names.sort_unstable();
        if let Some([name, _]) = names.array_windows().find(|[one, next]| one == next) {
            return Some(("plans", format!("two plans have the name {name:?}")));
        }
        for plan in &self.plans {
            if let Some(label) = plan
                .watch
                .as_ref()
                .filter(|&label| !self.watch.iter().any(|w| w.label == *label))
            {
                return Some((
                    "plans",
                    format!(
                        "{} names the watch {label:?}, which is not under watch",
                        plan.name
                    ),
                ));
            }
        }
        let mut labels: Vec<_> = self.watch.iter().map(|watch| &watch.label).collect();
        labels.sort_unstable();
        let twice = labels
            .iter()
            .zip(labels.iter().skip(1))
            .find(|(one, next)| one == next);
        if let Some((label, _)) = twice {
            return Some(("watch", format!("two watches have the label {label:?}")));
        }
        None
    }
}

impl WebConfig {
    /// Reads and checks `file`, with the certificates it names. Relative paths are taken from the folder it lies in.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = read_text(file)?;
        let mut web: Self = parse_yaml(file, &text)?;
        if let Some((key, problem)) = web.problem() {
            return Err(ConfigError::of_key(file, &text, key, &problem));
        }
        if let Some(tls) = &mut web.tls_server_config {
            let folder = file.parent().unwrap_or(Path::new(""));
            let join = |path: &mut PathBuf| *path = folder.join(&*path);
            join(&mut tls.cert_file);
            join(&mut tls.key_file);
            tls.client_ca_file.as_mut().map(join);
        }
        Ok(web)
    }
}

/// The text of a settings file.
fn read_text(file: &Path) -> Result<String, ConfigError> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| ConfigError::of_file(file, format_args!("cannot be read: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::of_file(
            file,
            format_args!("is larger than {FILE_BYTES_MAX} bytes, which no settings file is"),
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        ConfigError::of_file(
            file,
            format_args!(
                "is not UTF-8 text: byte {} is bad",
                error.utf8_error().valid_up_to()
            ),
        )
    })
}

/// YAML to settings. A file without any setting means all defaults.
fn parse_yaml<T: DeserializeOwned + Default>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let settings: Option<T> =
        serde_yaml::from_str(text).map_err(|error| ConfigError::of_yaml(file, &error))?;
    Ok(settings.unwrap_or_default())
}
