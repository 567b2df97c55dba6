//! Boards and rules: every metric they name exists, boards keep the rules of Grafana's dashboard-linter, every alert
//! has a runbook and tests.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

const BOARDS: &[&str] = &["fleet", "machine", "models", "runs"];
/// What aggregates, joins or calls in the expressions here, none of which is a metric.
const WORDS: &[&str] = &[
    "and",
    "bool",
    "by",
    "clamp_min",
    "count",
    "increase",
    "max",
    "min",
    "or",
    "predict_linear",
    "rate",
    "sum",
    "without",
];
/// Units of Grafana that the boards use.
const UNITS: &[&str] = &[
    "Bps",
    "bytes",
    "celsius",
    "cps",
    "dateTimeAsIso",
    "none",
    "percentunit",
    "reqps",
    "s",
    "short",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn board(name: &str) -> Value {
    serde_json::from_str(&read(&format!("dashboards/grafana/{name}.json"))).unwrap()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Panels that show something: all but rows, those inside collapsed rows included.
fn panels(board: &Value) -> Vec<&Value> {
    list(&board["panels"])
        .iter()
        .flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"])))
        .filter(|panel| text(panel, "type") != "row")
        .collect()
}

/// Each panel of each board with a name for messages.
fn every_panel(mut check: impl FnMut(&str, &Value)) {
    for name in BOARDS {
        let board = board(name);
        let panels = panels(&board);
        assert!(!panels.is_empty(), "{name} shows nothing");
        for panel in panels {
            check(&format!("{name}, '{}'", text(panel, "title")), panel);
        }
    }
}

fn every_expression(mut check: impl FnMut(&str, &str)) {
    every_panel(|name, panel| {
        for target in list(&panel["targets"]) {
            check(name, text(target, "expr"));
        }
    });
}

fn rules() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&read("dashboards/prometheus/rules.yaml")).unwrap();
    let rules: Vec<Value> = list(&file["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .cloned()
        .collect();
    assert!(rules.len() > 10, "only {} rules", rules.len());
    rules
}

/// The documented metrics and whether each is a counter.
fn documented() -> BTreeMap<String, bool> {
    let metrics: BTreeMap<String, bool> = read("docs/metrics.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.starts_with("counter")))
        .collect();
    assert!(metrics.len() > 50, "docs/metrics.md is not read right");
    metrics
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// An expression as identifiers with where each begins; matchers, ranges, strings and grouping lists taken out.
fn identifiers(expression: &str) -> Vec<(usize, String)> {
    let (mut plain, mut closes, mut quoted) = (String::new(), Vec::new(), false);
    for c in expression.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' if !quoted => closes.push('}'),
            '[' if !quoted => closes.push(']'),
            c if !quoted && closes.last() == Some(&c) => {
                closes.pop();
            }
            _ => {}
        }
        // A character for a character, so that positions hold.
        let inside = quoted || !closes.is_empty() || matches!(c, '"' | '}' | ']');
        plain.extend(std::iter::repeat_n(
            if inside { ' ' } else { c },
            c.len_utf8(),
        ));
    }
    for grouping in ["by (", "without (", "on (", "ignoring ("] {
        let mut from = 0;
        while let Some(at) = plain[from..].find(grouping).map(|at| at + from) {
            let open = at + grouping.len();
            let end = plain[open..].find(')').unwrap() + open;
            plain.replace_range(open..end, &" ".repeat(end - open));
            from = end;
        }
    }
    let mut found = Vec::new();
    let mut rest = plain.as_str();
    while let Some(start) = rest.find(is_word) {
        let word: String = rest[start..].chars().take_while(|c| is_word(*c)).collect();
        let at = plain.len() - rest.len() + start;
        rest = &rest[start + word.len()..];
        if !word.starts_with(|c: char| c.is_ascii_digit()) {
            found.push((at, word));
        }
    }
    found
}

/// The metrics an expression names.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    identifiers(expression)
        .into_iter()
        .map(|(_, word)| word)
        .filter(|word| !WORDS.contains(&word.as_str()))
        .collect()
}

#[test]
fn expressions_are_taken_apart() {
    let found = metrics_of(
        r#"sum by (job, instance) (rate(a_total{x=~"$y",z="b(c"}[$__rate_interval])) or clamp_min(up - a:b:c, 0) > bool 1"#,
    );
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["a:b:c", "a_total", "up"]
    );
}

#[test]
fn metrics_exist() {
    let rules = rules();
    let mut known: BTreeSet<String> = documented().into_keys().collect();
    known.insert("up".to_owned());
    every_expression(|name, expression| {
        for metric in metrics_of(expression) {
            assert!(
                known.contains(&metric),
                "{name}: {metric} is not in docs/metrics.md"
            );
        }
    });
    known.extend(rules.iter().map(|rule| text(rule, "record").to_owned()));
    for rule in &rules {
        for metric in metrics_of(text(rule, "expr")) {
            assert!(
                known.contains(&metric),
                "{}{}: {metric} is not known",
                text(rule, "alert"),
                text(rule, "record")
            );
        }
    }
    for name in BOARDS {
        for variable in list(&board(name)["templating"]["list"]) {
            let query = text(variable, "definition");
            if let Some(inner) = query.strip_prefix("label_values(") {
                let metric: String = inner.chars().take_while(|c| is_word(*c)).collect();
                assert!(
                    known.contains(&metric),
                    "{name}: variable asks for {metric}"
                );
            }
        }
    }
}

#[test]
fn counters_only_under_rates_and_rates_only_over_counters() {
    let counters = documented();
    let check = |name: &str, expression: &str| {
        for (at, word) in identifiers(expression) {
            let before = expression[..at].trim_end();
            let under = before.ends_with("rate(") || before.ends_with("increase(");
            if WORDS.contains(&word.as_str()) {
                continue;
            }
            let counter = counters.get(&word).copied().unwrap_or(false);
            assert_eq!(counter, under, "{name}: {word} in {expression}");
        }
    };
    every_expression(check);
    for rule in rules() {
        check(text(&rule, "alert"), text(&rule, "expr"));
    }
}

#[test]
fn variables_are_templated() {
    for name in BOARDS {
        let board = board(name);
        let variables = list(&board["templating"]["list"]);
        let find = |wanted: &str| {
            variables
                .iter()
                .find(|v| text(v, "name") == wanted)
                .unwrap_or_else(|| panic!("{name} has no variable {wanted}"))
        };
        let source = find("datasource");
        assert_eq!(
            (text(source, "type"), text(source, "query")),
            ("datasource", "prometheus"),
            "{name}"
        );
        assert_eq!(text(source, "label"), "Data source", "{name}");
        for (wanted, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = find(wanted);
            assert_eq!(
                (text(variable, "type"), text(variable, "label")),
                ("query", label),
                "{name}"
            );
            assert_eq!(text(variable, "allValue"), ".+", "{name}, {wanted}");
            assert_eq!(variable["multi"], true, "{name}, {wanted}");
        }
        for variable in variables.iter().filter(|v| text(v, "type") == "query") {
            let which = format!("{name}, variable {}", text(variable, "name"));
            assert_eq!(
                text(&variable["datasource"], "uid"),
                "$datasource",
                "{which}"
            );
            assert_eq!(
                variable["refresh"], 2,
                "{which}: asked again when the time range changes"
            );
            assert!(
                text(variable, "definition").starts_with("label_values("),
                "{which}"
            );
            assert_eq!(
                variable["definition"], variable["query"]["query"],
                "{which}"
            );
        }
    }
}

#[test]
fn panels_are_described_and_have_units() {
    every_panel(|name, panel| {
        assert!(!text(panel, "title").is_empty(), "{name} has no title");
        assert!(
            text(panel, "description").ends_with('.'),
            "{name} has no description"
        );
        let unit = text(&panel["fieldConfig"]["defaults"], "unit");
        assert!(UNITS.contains(&unit), "{name} has the unit '{unit}'");
        let kind = text(panel, "type");
        assert!(
            ["stat", "table", "timeseries"].contains(&kind),
            "{name} is a {kind}"
        );
        assert_eq!(text(&panel["datasource"], "uid"), "$datasource", "{name}");
        for entry in list(&panel["fieldConfig"]["overrides"]) {
            for property in list(&entry["properties"])
                .iter()
                .filter(|p| p["id"] == "unit")
            {
                assert!(
                    UNITS.contains(&text(property, "value")),
                    "{name}: unit {}",
                    property["value"]
                );
            }
        }
    });
}

#[test]
fn targets_are_whole() {
    every_panel(|name, panel| {
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{name} asks for nothing");
        let names: BTreeSet<&str> = targets.iter().map(|t| text(t, "refId")).collect();
        assert_eq!(names.len(), targets.len(), "{name}: refIds repeat");
        for target in targets {
            assert!(
                !text(target, "legendFormat").is_empty(),
                "{name}: a series has no legend"
            );
            assert_eq!(text(&target["datasource"], "uid"), "$datasource", "{name}");
        }
    });
}

#[test]
fn expressions_select_job_and_instance() {
    every_expression(|name, expression| {
        for (at, word) in identifiers(expression) {
            if WORDS.contains(&word.as_str()) {
                continue;
            }
            let after = &expression[at + word.len()..];
            assert!(
                after.starts_with(r#"{job=~"$job",instance=~"$instance""#),
                "{name}: {word} takes every job and instance in {expression}"
            );
        }
    });
}

#[test]
fn ranges_follow_the_scrape_interval() {
    every_expression(|name, expression| {
        for range in expression.split('[').skip(1) {
            assert!(range.starts_with("$__rate_interval]"), "{name}: [{range}");
        }
    });
}

#[test]
fn boards_are_named_linked_and_in_place() {
    let boards: Vec<Value> = BOARDS.iter().map(|name| board(name)).collect();
    let uids: BTreeSet<String> = BOARDS.iter().map(|name| format!("shv-{name}")).collect();
    let titles: BTreeSet<&str> = boards.iter().map(|b| text(b, "title")).collect();
    assert_eq!(titles.len(), BOARDS.len());
    for (name, board) in BOARDS.iter().zip(&boards) {
        assert_eq!(text(board, "uid"), format!("shv-{name}"));
        assert_eq!(board["editable"], false, "{name}");
        assert!(board["schemaVersion"].as_u64().unwrap() >= 39, "{name}");
        let links: BTreeSet<String> = list(&board["links"])
            .iter()
            .map(|link| text(link, "url").trim_start_matches("/d/").to_owned())
            .collect();
        let others: BTreeSet<String> = uids
            .iter()
            .filter(|uid| *uid != text(board, "uid"))
            .cloned()
            .collect();
        assert_eq!(links, others, "{name}: links");
        for part in board.to_string().split("/d/").skip(1) {
            let uid: String = part
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            assert!(uids.contains(&uid), "{name} links to {uid}");
        }

        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in list(&board["panels"]) {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{name}: ids repeat"
            );
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(
                at("x") + at("w") <= 24,
                "{name}, '{}' is too wide",
                text(panel, "title")
            );
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(
                        taken.insert((x, y)),
                        "{name}, '{}' lies on another",
                        text(panel, "title")
                    );
                }
            }
        }
    }
}

#[test]
fn alerts_have_runbooks_and_tests() {
    let runbooks = read("docs/runbooks.md");
    let headings: BTreeSet<&str> = runbooks
        .lines()
        .filter_map(|l| l.strip_prefix("## "))
        .collect();
    let tests: Value =
        serde_yaml::from_str(&read("dashboards/prometheus/rules_test.yaml")).unwrap();
    let mut alerts = BTreeSet::new();
    for rule in rules() {
        let name = text(&rule, "alert").to_owned();
        if name.is_empty() {
            continue;
        }
        let notes = &rule["annotations"];
        assert!(
            headings.contains(name.as_str()),
            "docs/runbooks.md has no '## {name}'"
        );
        let anchor = format!("/docs/runbooks.md#{}", name.to_lowercase());
        assert!(
            text(notes, "runbook_url").ends_with(&anchor),
            "{name}: {}",
            notes["runbook_url"]
        );
        assert!(
            !text(notes, "summary").is_empty() && text(notes, "description").ends_with('.'),
            "{name}"
        );
        assert!(
            ["warning", "critical"].contains(&text(&rule["labels"], "severity")),
            "{name}"
        );

        let expected: Vec<bool> = list(&tests["tests"])
            .iter()
            .flat_map(|test| list(&test["alert_rule_test"]))
            .filter(|test| text(test, "alertname") == name)
            .map(|test| list(&test["exp_alerts"]).is_empty())
            .collect();
        assert!(expected.contains(&false), "no test shows {name} firing");
        assert!(
            expected.contains(&true),
            "no test shows {name} keeping quiet"
        );
        alerts.insert(name);
    }
    let alerts: BTreeSet<&str> = alerts.iter().map(String::as_str).collect();
    assert_eq!(headings, alerts, "runbooks and alerts");
}

#[test]
fn provisioning_names_what_is_there() {
    for path in [
        "grafana/provisioning/datasources/prometheus.yaml",
        "grafana/provisioning/dashboards/shvplan.yaml",
    ] {
        let file: Value = serde_yaml::from_str(&read(&format!("dashboards/{path}"))).unwrap();
        assert_eq!(file["apiVersion"], 1, "{path}");
    }
    let compose: Value = serde_yaml::from_str(&read("dashboards/compose.yaml")).unwrap();
    let mut mounted = Vec::new();
    for service in compose["services"].as_object().unwrap().values() {
        assert!(
            text(service, "image").contains(':'),
            "images name their version"
        );
        for port in list(&service["ports"]) {
            assert!(
                port.as_str().unwrap().starts_with("127.0.0.1:"),
                "{port} is open to the network"
            );
        }
        mounted.extend(list(&service["volumes"]).iter().filter_map(|v| {
            v.as_str()?
                .strip_prefix("./")?
                .split(':')
                .next()
                .map(PathBuf::from)
        }));
    }
    for path in &mounted {
        assert!(
            root().join("dashboards").join(path).exists(),
            "{} is mounted",
            path.display()
        );
    }
    for name in BOARDS {
        assert!(
            mounted.contains(&PathBuf::from(format!("grafana/{name}.json"))),
            "{name} is not mounted"
        );
    }
}
