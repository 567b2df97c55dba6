use std::path::Path;

use super::*;

fn refusal(text: &str) -> String {
    Config::parse(Path::new("c.yaml"), text)
        .unwrap_err()
        .to_string()
}

fn web_refusal(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.yml");
    std::fs::write(&file, text).unwrap();
    let refusal = WebConfig::load(&file).unwrap_err().to_string();
    refusal.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn the_file_at_the_top_spells_out_every_default() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.yaml");
    assert_eq!(Config::load(&file).unwrap(), Config::default());
    assert_eq!(
        Config::parse(&file, "# nothing\n").unwrap(),
        Config::default()
    );

    // A setting that the file forgot would still parse, so the keys are compared with those the program knows.
    let text = std::fs::read_to_string(&file).unwrap();
    let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    for (section, settings) in value.as_mapping().unwrap() {
        let section = section.as_str().unwrap();
        let message = refusal(&match settings.as_mapping() {
            Some(_) => format!("{section}: {{unknown_key: 1}}"),
            None => format!("{section}: [{{unknown_key: 1}}]"),
        });
        let Some(settings) = settings.as_mapping() else {
            continue;
        };
        let known = message.matches('`').count() / 2 - 1;
        assert_eq!(settings.len(), known, "{section}: {message}");
        for (inner, settings) in settings.iter().filter(|(_, value)| value.is_mapping()) {
            let inner = inner.as_str().unwrap();
            // Of a target one of three is written.
            if inner != "target" {
                let message = refusal(&format!("{section}: {{{inner}: {{unknown_key: 1}}}}"));
                let known = message.matches('`').count() / 2 - 1;
                let written = settings.as_mapping().unwrap().len();
                assert_eq!(written, known, "{section}.{inner}: {message}");
            }
        }
    }
    let sections = refusal("unknown_key: 1").matches('`').count() / 2 - 1;
    assert_eq!(value.as_mapping().unwrap().len(), sections);
}

#[test]
fn refusals_name_file_line_key_and_what_is_accepted() {
    let cases = [
        (
            "listen:\n  adress: 1\n",
            "c.yaml:2:3: listen: unknown field `adress`, expected one of",
        ),
        (
            "listen:\n  address: nowhere\n",
            "c.yaml:2:12: listen.address: invalid socket address syntax",
        ),
        (
            "limits:\n  header_time_ms: 5\n",
            "c.yaml:2:19: limits.header_time_ms: invalid value: integer `5`, expected a whole number from 10 to 60000",
        ),
        (
            "limits: {connections_max: -1}\n",
            "c.yaml:1:27: limits.connections_max: invalid type: integer `-1`, expected a whole number from 1 to 65536",
        ),
        (
            "limits: {body_bytes_max: 1e30}\n",
            "c.yaml:1:26: limits.body_bytes_max: invalid type: floating point",
        ),
        (
            "limits: {body_bytes_max: 99999999999999999999999}\n",
            "c.yaml:1:26: limits.body_bytes_max: invalid type",
        ),
        (
            "source:\n  kind: magic\n",
            "c.yaml:2:9: source.kind: unknown variant `magic`, expected one of `auto`",
        ),
        (
            "log: {level: info}\nlog: {level: warn}\n",
            "c.yaml:1:1: duplicate field `log`",
        ),
        (
            "source:\n  kind: replay\n",
            "c.yaml:2:3: source.kind: `replay` needs `source.file`",
        ),
        (
            "sampling:\n  interval_ms: 5000\n  stale_after_ms: 5000\n",
            "c.yaml:3:3: sampling.stale_after_ms: 5000 is not above sampling.interval_ms (5000)",
        ),
        (
            "listen: {allowed_hosts: ['*']}",
            "c.yaml: listen.allowed_hosts: \"*\" is not a host name",
        ),
        (
            "listen: {allowed_origins: ['mac']}",
            "c.yaml: listen.allowed_origins: \"mac\" is not an origin",
        ),
        (
            "pressure:\n  deadline_seconds: 0\n",
            "c.yaml:2:3: pressure.deadline_seconds: 0 is not accepted; accepted: 1 to 86400",
        ),
        (
            "pressure:\n  limits:\n    sampler_stall_ms: 1\n",
            "c.yaml:3:5: pressure.limits.sampler_stall_ms: 1 is not accepted; accepted: 200 to 600000",
        ),
        (
            "pressure:\n  target: {until_level: critical}\n",
            "c.yaml:2:3: pressure.target: until level critical is not accepted",
        ),
        (
            "pressure: {backend: cuda}",
            "c.yaml:1:21: pressure.backend: unknown variant `cuda`, expected one of `auto`, `host`, `mlx`",
        ),
        (
            "watch: [{name: a, pid: 1}]",
            "c.yaml:1:8: watch: a watch has exactly one of",
        ),
        (
            "watch: [{port: 70000}]",
            "c.yaml:1:16: watch[0].port: invalid value: integer `70000`",
        ),
        (
            "watch: [{name: a}, {pid: 2, label: a}]",
            "c.yaml:1:1: watch: two watches have the label \"a\"",
        ),
        (
            "listen: [",
            "c.yaml:1:9: listen: invalid type: sequence, expected struct Listen",
        ),
    ];
    for (text, expected) in cases {
        let message = refusal(text);
        assert!(
            message.starts_with(expected),
            "{text:?}\n  gave {message}\n  not  {expected}"
        );
    }
}

#[test]
fn files_that_are_no_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        Config::load(&file).unwrap_err().problem
    };
    assert!(refused("large", &vec![b'#'; 2 << 20]).contains("larger than 1048576 bytes"));
    assert!(refused("binary", b"log:\xff").contains("byte 4 is bad"));
    assert!(
        Config::load(folder.path())
            .unwrap_err()
            .problem
            .contains("cannot be read")
    );
    let missing = Config::load(&folder.path().join("missing")).unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("missing: cannot be read: No such file")
    );
    // Aliases that would expand to 10^9 entries.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let before = level - 1;
        bomb += &format!(
            "a{level}: &a{level} [{}]\n",
            vec![format!("*a{before}"); 10].join(", ")
        );
    }
    assert!(!refused("bomb", bomb.as_bytes()).is_empty());
}

#[test]
fn paths_are_taken_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.yaml");
    std::fs::write(
        &file,
        "source: {kind: replay, file: r.jsonl}\nlisten: {web_config: /etc/w.yml}\nstate_directory: kept\n",
    )
    .unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.source.file.unwrap(), folder.path().join("r.jsonl"));
    assert_eq!(config.listen.web_config.unwrap(), Path::new("/etc/w.yml"));
    assert_eq!(config.state_directory.unwrap(), folder.path().join("kept"));
}

#[test]
fn web_config_is_strict_and_keeps_secrets_to_itself() {
    let cases = [
        (
            "basic_auth_user: {}",
            "web.yml:1:1: unknown field `basic_auth_user`, expected one of",
        ),
        (
            "tls_server_config: {cert_file: c, key_file: k, min_version: TLS11}",
            "web.yml:1:61: tls_server_config.min_version: unknown variant `TLS11`, expected `TLS12` or `TLS13`",
        ),
        (
            "tls_server_config: {cert_file: c, key_file: k, cipher_suites: [x]}",
            "web.yml:1:48: tls_server_config: unknown field `cipher_suites`",
        ),
        (
            "tls_server_config:\n  cert_file: c\n  key_file: k\n  client_auth_type: RequireAndVerifyClientCert\n",
            "web.yml:1:1: tls_server_config: client_ca_file and a client_auth_type",
        ),
        (
            "basic_auth_users:\n  ann: hunter2\n",
            "web.yml:1:1: basic_auth_users: the password of \"ann\" is not a bcrypt hash",
        ),
        (
            "bearer_tokens:\n  ci: hunter2\n",
            "web.yml:1:1: bearer_tokens: the token \"ci\" is not written as sha256:",
        ),
    ];
    for (text, expected) in cases {
        let message = web_refusal(text);
        assert!(
            message.starts_with(expected),
            "{text:?}\n  gave {message}\n  not  {expected}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
    let mut web = WebConfig::default();
    assert!(!web.authenticates());
    web.basic_auth_users.insert("ann".into(), "$2y$hash".into());
    assert!(web.authenticates());
    assert!(!format!("{web:?}").contains("$2y$hash"));
}
