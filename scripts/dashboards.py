#!/usr/bin/env python3
"""Writes dashboards/grafana/*.json, so that the boards look and behave alike.

    dashboards.py            writes them
    dashboards.py --check    exit 1 when a file is not what would be written

In expressions `@` stands for the matchers of job and instance: `shv_x@` and `shv_x@{bound="low"}`.
"""

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "dashboards" / "grafana"
MATCHERS = 'job=~"$job",instance=~"$instance"'
SOURCE = {"type": "prometheus", "uid": "$datasource"}
GREEN, YELLOW, ORANGE, RED, BLUE, GRAY = "green", "yellow", "orange", "red", "blue", "text"

# The kernel's own level on macOS; on Linux what docs/machine.md makes of the headrooms.
LEVEL = (
    "shv_memory_pressure_level@ or sum without (bound) ("
    '1 + (shv_memory_headroom_to_warning_bytes@{bound="expected"} <= bool 0)'
    ' + 2 * (shv_memory_headroom_to_critical_bytes@{bound="expected"} <= bool 0))'
)
HEADROOM_SHARE = 'sum without (bound) (shv_memory_headroom_to_warning_bytes@{bound="expected"}) / shv_memory_total_bytes@'
# What a stack shows, bottom up: each part is memory that no other part counts.
STACK = [
    ("shv_memory_wired_bytes@", "wired", RED),
    ("shv_memory_slab_unreclaimable_bytes@", "kernel", RED),
    ("shv_memory_compressor_occupied_bytes@", "compressor", ORANGE),
    ("shv_memory_app_bytes@ or shv_memory_anonymous_bytes@", "programs", BLUE),
    ("shv_memory_shared_bytes@", "shared", "purple"),
    ("shv_memory_cached_files_bytes@", "cached files", "super-light-green"),
    ("shv_memory_free_bytes@", "free", "dark-green"),
]
# Whatever the system's own queues leave out: page tables, pages in transit.
REST = (
    "clamp_min(shv_memory_total_bytes@ - shv_memory_free_bytes@ - shv_memory_cached_files_bytes@"
    " - (shv_memory_wired_bytes@ + shv_memory_compressor_occupied_bytes@ + shv_memory_app_bytes@"
    " or shv_memory_slab_unreclaimable_bytes@ + shv_memory_anonymous_bytes@ + shv_memory_shared_bytes@), 0)"
)
LEVEL_NAMES = {"1": ("normal", GREEN), "2": ("warning", ORANGE), "4": ("critical", RED)}
YES_NO = {"0": ("no", RED), "1": ("yes", GREEN)}
HEAT = {"0": ("nominal", GREEN), "1": ("moderate", YELLOW), "2": ("heavy", ORANGE), "3": ("trapping", RED), "4": ("sleeping", RED)}


def expression(text):
    text = re.sub(r"@\{", "{" + MATCHERS + ",", text)
    return text.replace("@", "{" + MATCHERS + "}")


def mappings(names):
    options = {value: {"text": text, "color": color, "index": i} for i, (value, (text, color)) in enumerate(names.items())}
    return [{"type": "value", "options": options}]


def steps(first, *rest):
    """Colors from below: the first, then (value, color) upwards."""
    return {"mode": "absolute", "steps": [{"color": first, "value": None}] + [{"color": c, "value": v} for v, c in rest]}


def targets(queries, table=False):
    out = []
    for i, (text, legend) in enumerate(queries):
        target = {"datasource": SOURCE, "expr": expression(text), "legendFormat": legend, "refId": chr(ord("A") + i)}
        out.append(target | ({"format": "table", "instant": True, "range": False} if table else {"range": True}))
    return out


def panel(kind, title, description, unit, queries, size, *, defaults=None, overrides=None, options=None, **more):
    field = {"unit": unit, "color": {"mode": "palette-classic"}, "mappings": [], "thresholds": steps(GREEN)} | (defaults or {})
    return {
        "type": kind, "title": title, "description": description, "datasource": SOURCE,
        "fieldConfig": {"defaults": field, "overrides": overrides or []}, "options": options or {},
        "targets": targets(queries, table=kind == "table"), "size": size,
    } | more


def stat(title, description, unit, queries, size=(4, 4), *, thresholds=None, names=None, graph=False):
    defaults = {"color": {"mode": "thresholds"}, "thresholds": thresholds or steps(GRAY), "mappings": mappings(names) if names else []}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area" if graph else "none",
        "colorMode": "value", "justifyMode": "auto", "orientation": "auto", "textMode": "auto", "wideLayout": True,
    }
    return panel("stat", title, description, unit, queries, size, defaults=defaults, options=options)


def series(title, description, unit, queries, size=(12, 8), *, stack=False, steps_=False, names=None, low=0, high=None, styles=None, thresholds=None):
    custom = {
        "drawStyle": "line", "lineInterpolation": "stepAfter" if steps_ else "linear", "lineWidth": 1, "showPoints": "never", "spanNulls": False,
        "fillOpacity": 60 if stack else 8, "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        "thresholdsStyle": {"mode": "line" if thresholds else "off"}, "axisSoftMin": 0,
    }
    defaults = {"custom": custom, "mappings": mappings(names) if names else []}
    if low is not None:
        defaults["min"] = low
    if high is not None:
        defaults["max"] = high
    if thresholds:
        defaults["thresholds"] = thresholds
    overrides = [{"matcher": {"id": "byRegexp", "options": f"/^{name}/"}, "properties": props} for name, props in (styles or {}).items()]
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none" if stack else "desc"},
    }
    return panel("timeseries", title, description, unit, queries, size, defaults=defaults, overrides=overrides, options=options)


def color(name):
    return {"id": "color", "value": {"mode": "fixed", "fixedColor": name}}


def line(name, dash=False):
    look = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}} if dash else {"id": "custom.lineWidth", "value": 2}
    return [color(name), {"id": "custom.fillOpacity", "value": 0}, {"id": "custom.stacking", "value": {"mode": "none"}}, look]


def table(title, description, columns, labels, size, *, sort, link=None):
    """Columns are (heading, unit, expression, properties); the one named by `sort` = (heading, descending) orders the rows."""
    letters = {heading: chr(ord("A") + i) for i, (heading, *_) in enumerate(columns)}
    overrides = [
        {"matcher": {"id": "byName", "options": heading}, "properties": [{"id": "unit", "value": unit}, *props]}
        for heading, unit, _, props in columns
    ]
    if link:
        overrides.append({"matcher": {"id": "byName", "options": "Machine"}, "properties": [{"id": "links", "value": [link]}]})
    names = {f"Value #{letter}": heading for heading, letter in letters.items()} | labels
    order = {name: i for i, name in enumerate([*labels, *(f"Value #{letter}" for letter in letters.values())])}
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "sortBy", "options": {"sort": [{"field": f"Value #{letters[sort[0]]}", "desc": sort[1]}]}},
        {"id": "organize", "options": {"renameByName": names, "indexByName": order, "excludeByName": {"Time": True, "__name__": True}}},
    ]
    defaults = {"color": {"mode": "thresholds"}, "thresholds": steps(GRAY), "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True}}
    options = {"showHeader": True, "cellHeight": "sm", "footer": {"show": False, "reducer": ["sum"], "fields": ""}}
    queries = [(text, heading) for heading, _, text, _ in columns]
    return panel("table", title, description, "none", queries, size, defaults=defaults, overrides=overrides, options=options, transformations=transformations)


def cell(thresholds=None, names=None):
    props = [{"id": "custom.cellOptions", "value": {"type": "color-text"}}]
    if thresholds:
        props.append({"id": "thresholds", "value": thresholds})
    if names:
        props.append({"id": "mappings", "value": mappings(names)})
    return props


def row(title, **more):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "size": (24, 1)} | more


def place(panels):
    """Left to right, a new line when the next does not fit."""
    x = y = height = 0
    placed = []
    for number, item in enumerate(panels, 1):
        item = dict(item)
        w, h = item.pop("size")
        if x + w > 24:
            x, y, height = 0, y + height, 0
        placed.append({"id": number} | item | {"gridPos": {"h": h, "w": w, "x": x, "y": y}})
        x, height = x + w, max(height, h)
    return placed


def query_variable(name, label, query, *, every):
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE, "definition": query, "hide": 0,
        "query": {"query": query, "refId": f"variable-{name}"}, "refresh": 2, "sort": 1, "regex": "",
        "multi": True, "includeAll": every, "allValue": ".+", "options": [], "skipUrlSync": False,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]} if every else {},
    }


def board(uid, title, description, panels, *, every_instance=True, variables=()):
    links = [
        {"type": "link", "title": name, "url": f"/d/{other}", "icon": "dashboard", "includeVars": True, "keepTime": True,
         "asDropdown": False, "targetBlank": False, "tags": [], "tooltip": ""}
        for other, name in (("shv-fleet", "Fleet"), ("shv-machine", "Machine"), ("shv-models", "Models"), ("shv-runs", "Runs")) if other != uid
    ]
    known = "shv_build_info"
    templating = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0, "refresh": 1, "regex": "",
         "multi": False, "includeAll": False, "options": [], "current": {}, "skipUrlSync": False},
        query_variable("job", "Job", f"label_values({known}, job)", every=True),
        query_variable("instance", "Instance", f'label_values({known}{{job=~"$job"}}, instance)', every=every_instance),
        *variables,
    ]
    return {
        "uid": uid, "title": title, "description": description, "tags": ["shvplan", "memory"], "schemaVersion": 39, "version": 1,
        "editable": False, "graphTooltip": 1, "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "timepicker": {}, "weekStart": "", "fiscalYearStartMonth": 0, "liveNow": False, "links": links, "annotations": {"list": []},
        "templating": {"list": templating}, "panels": place(panels),
    }


def machine():
    room = steps(RED, (1, ORANGE), (2 * 2**30, YELLOW), (4 * 2**30, GREEN))
    rate = "rate({}@[$__rate_interval])"
    return board("shv-machine", "Machine memory (shvd)", "How far one machine is from memory trouble, and who brings it there.", [
        row("$instance", repeat="instance"),
        stat("Pressure level", "The kernel's own level on macOS; on Linux made of the headrooms (docs/machine.md).", "none", [(LEVEL, "level")], names=LEVEL_NAMES, thresholds=steps(GREEN, (2, ORANGE), (4, RED))),
        stat("Headroom to warning", "Bytes that may still be wired before the level is warning, as expected with what the compressor reaches now.", "bytes",
             [('shv_memory_headroom_to_warning_bytes@{bound="expected"}', "to warning")], thresholds=room, graph=True),
        stat("Headroom to critical", "Bytes that may still be wired before the level is critical.", "bytes",
             [('shv_memory_headroom_to_critical_bytes@{bound="expected"}', "to critical")], thresholds=room, graph=True),
        stat("In use", "Memory in use over physical memory: programs, wired and compressor on macOS, total minus available on Linux.", "percentunit",
             [("shv_memory_used_bytes@ / shv_memory_total_bytes@", "in use")], thresholds=steps(GREEN, (0.8, YELLOW), (0.9, ORANGE)), graph=True),
        stat("Swap in use", "Swap space in use. What is there for long and not read back does no harm.", "bytes", [("shv_memory_swap_used_bytes@", "swap")], graph=True),
        stat("Fresh sample", "Whether the latest reading gave a sample that is not stale. If not, everything read from the machine is absent here.", "none",
             [("shv_sample_success@", "fresh")], names=YES_NO, thresholds=steps(RED, (1, GREEN))),
        series("Memory", "Where physical memory is. The parts do not overlap and sum to the total, the dashed line.", "bytes",
               [*((text, name) for text, name, _ in STACK), (REST, "rest"), ("shv_memory_total_bytes@", "total")], (24, 10), stack=True,
               styles={name: [color(tone)] for _, name, tone in STACK} | {"rest": [color(GRAY)], "total": line(GRAY, dash=True)}),
        series("Headroom", "Bytes that may still be wired before each level. Low: nothing compresses; high: everything vanishes. At zero the level is reached.", "bytes",
               [("shv_memory_headroom_to_warning_bytes@", "warning, {{bound}}"), ("shv_memory_headroom_to_critical_bytes@", "critical, {{bound}}")], low=None,
               styles={"warning, expected": line(ORANGE), "critical, expected": line(RED), "warning, (low|high)": line(ORANGE, dash=True), "critical, (low|high)": line(RED, dash=True)}),
        series("Pressure level", "1 normal, 2 warning, 4 critical.", "none", [(LEVEL, "level")], steps_=True, names=LEVEL_NAMES, high=4, thresholds=steps(GREEN, (2, ORANGE), (4, RED))),
        series("Swap in and out", "Pages a second, into memory and out to swap. A page has 16 KiB on Apple Silicon, most often 4 KiB on Linux.", "cps",
               [(rate.format("shv_vm_swapins_total"), "in"), (rate.format("shv_vm_swapouts_total"), "out")]),
        series("Swap space", "Swap space and what of it is in use. macOS grows it as it needs.", "bytes", [("shv_memory_swap_used_bytes@", "used"), ("shv_memory_swap_total_bytes@", "total")]),
        series("Compressor", "What the compressor's contents were (stored) and the memory they take (occupied). macOS only.", "bytes",
               [("shv_memory_compressor_stored_bytes@", "stored"), ("shv_memory_compressor_occupied_bytes@", "occupied")]),
        series("Compression ratio", "Bytes that the compressor holds in one byte. Near 1 it gains nothing: quantized weights barely compress. macOS only.", "none",
               [("shv_memory_compression_ratio@", "ratio")]),
        series("Compressor limit", "Pages in the compressor's segments over how many there may be. At 98 % the kernel ends processes, at 100 % it panics. macOS only.", "percentunit",
               [("shv_memory_compressor_segment_pages@ / shv_memory_compressor_segment_pages_limit@", "of the limit")], high=1, thresholds=steps(GREEN, (0.9, ORANGE), (0.98, RED))),
        series("Compressions", "Pages a second that are compressed and wanted back. Both high at once: programs in use do not fit. macOS only.", "cps",
               [(rate.format("shv_vm_compressions_total"), "compressed"), (rate.format("shv_vm_decompressions_total"), "decompressed")]),
        series("Wired memory and the GPU's limit", "What cannot be paged out, and what the GPU may wire (iogpu.wired_limit_mb; 0: the driver's default holds). macOS only.", "bytes",
               [("shv_memory_wired_bytes@", "wired"), ("shv_gpu_wired_limit_bytes@", "GPU limit")], styles={"GPU limit": line(RED, dash=True)}),
        series("Reserved for launches", "Promised by the gate and not in use yet: what the next launch cannot have.", "bytes", [("shv_reserved_bytes@", "reserved")]),
        series("Footprint by process", "What each watched process costs the machine: phys_footprint, which counts GPU and compressed memory; Pss and swap on Linux.", "bytes",
               [("shv_process_footprint_bytes@", "{{watch}}: {{name}} {{pid}}")]),
        series("Compressed or swapped, by process", "Of each footprint, what is compressed (macOS) or swapped (Linux): what must come back before the process works at speed.", "bytes",
               [("shv_process_compressed_bytes@", "{{watch}}: {{name}} {{pid}}")]),
        series("Page faults", "Page faults a second.", "cps", [(rate.format("shv_vm_faults_total"), "faults")]),
        series("Time spent waiting for memory", "Share of the last ten seconds in which some or all tasks waited for memory. Linux only.", "percentunit",
               [('shv_memory_stall_ratio@{window="10s"}', "{{kind}}")], high=1),
        series("Control group", "What the daemon's control group holds beside its limits. Linux only, where there is a limit.", "bytes",
               [("shv_cgroup_usage_bytes@", "usage"), ("shv_cgroup_high_bytes@", "high"), ("shv_cgroup_limit_bytes@", "limit")]),
        series("Slowed down by heat", "How far the system slows down for heat: 0 nominal to 4 sleeping. Slow tokens with memory to spare are often this. macOS only.", "none",
               [("shv_thermal_level@", "level")], steps_=True, names=HEAT, high=4),
        series("Temperatures", "Temperature of each sensor that the system shows.", "celsius", [("shv_temperature_celsius@", "{{sensor}}")], low=None),
    ], every_instance=False)


def models():
    by = "sum by (job, instance, plan, model, quant) ({})"
    plan = '{plan=~"$plan"}'
    actual = by.format(f"shv_plan_actual_footprint_bytes@{plan}")
    spare = steps(RED, (0, YELLOW), (2 * 2**30, GREEN))
    columns = [
        ("Fits now", "none", by.format(f"shv_plan_fits_now@{plan}"), cell(steps(RED, (1, GREEN)), YES_NO)),
        ("Headroom", "bytes", by.format(f"shv_plan_headroom_bytes@{plan}"), cell(spare)),
        ("Weights", "bytes", by.format(f"shv_plan_weights_bytes@{plan}"), []),
        ("Caches", "bytes", by.format(f"shv_plan_cache_bytes@{plan}"), []),
        ("Peak", "bytes", by.format(f"shv_plan_peak_bytes@{plan}"), []),
        ("Peak, high end", "bytes", by.format(f"shv_plan_peak_high_bytes@{plan}"), []),
        ("Footprint", "bytes", actual, []),
        ("Largest footprint", "bytes", by.format(f"shv_plan_actual_peak_footprint_bytes@{plan}"), []),
        ("Of high end", "percentunit", f"{actual} / " + by.format(f"shv_plan_peak_high_bytes@{plan}"), cell(steps(GREEN, (0.95, YELLOW), (1, RED)))),
    ]
    link = {"title": "Machine", "url": "/d/shv-machine?var-datasource=${datasource}&var-job=${__data.fields.Job}&var-instance=${__data.fields.Machine}&${__url_time_range}"}
    variable = query_variable("plan", "Plan", 'label_values(shv_plan_peak_bytes{job=~"$job",instance=~"$instance"}, plan)', every=True)
    return board("shv-models", "Models and their plans (shvd)", "Models held against the machine: what each needs, whether it fits now, and what it takes.", [
        stat("Fit now", "Configured plans that could be started now, as shvplan gate decides it.", "none", [(f"sum(shv_plan_fits_now@{plan})", "fit")], (6, 4), thresholds=steps(GREEN)),
        stat("Do not fit now", "Configured plans that could not be started now.", "none", [(f"count(shv_plan_fits_now@{plan}) - sum(shv_plan_fits_now@{plan})", "do not fit")], (6, 4),
             thresholds=steps(GREEN, (1, ORANGE))),
        stat("Least headroom", "Of all plans, the least room from the expected peak to the lowest ceiling.", "bytes", [(f"min(shv_plan_headroom_bytes@{plan})", "headroom")], (6, 4), thresholds=spare, graph=True),
        stat("Largest share of the predicted peak", "Of all plans that run, the largest footprint over the high end of its predicted peak. Above 100 % the plan was wrong, or something else runs.",
             "percentunit", [(f"max(shv_plan_actual_footprint_bytes@{plan} / shv_plan_peak_high_bytes@{plan})", "of high end")], (6, 4), thresholds=steps(GREEN, (0.95, YELLOW), (1, RED)), graph=True),
        table("Plans", "One row a configured plan, the one with the least headroom first. Footprint is absent while nothing runs it.", columns,
              {"instance": "Machine", "plan": "Plan", "model": "Model", "quant": "Quantization", "job": "Job"}, (24, 9), sort=("Headroom", False), link=link),
        series("Predicted beside actual", "The footprint of each plan's processes, and the interval of its predicted peak.", "bytes",
               [(f"shv_plan_actual_footprint_bytes@{plan}", "{{plan}} on {{instance}}, footprint"), (f"shv_plan_peak_low_bytes@{plan}", "{{plan}} on {{instance}}, peak low"),
                (f"shv_plan_peak_high_bytes@{plan}", "{{plan}} on {{instance}}, peak high")], (24, 10),
               styles={".*peak (low|high)": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}}, {"id": "custom.fillOpacity", "value": 0}]}),
        series("Headroom of each plan", "From each plan's expected peak to the lowest ceiling, with what is free now; below zero it does not fit.", "bytes",
               [(f"shv_plan_headroom_bytes@{plan}", "{{plan}} on {{instance}}")], low=None),
        series("Fits now", "1 while a plan could be started, 0 while it could not.", "none", [(f"shv_plan_fits_now@{plan}", "{{plan}} on {{instance}}")], steps_=True, names=YES_NO, high=1),
        series("Weights and caches", "What each plan needs for parameters, and for the caches once the context is in.", "bytes",
               [(f"shv_plan_weights_bytes@{plan}", "{{plan}} on {{instance}}, weights"), (f"shv_plan_cache_bytes@{plan}", "{{plan}} on {{instance}}, caches")]),
        series("Watched processes", "How many processes each watch finds. A plan whose watch finds two servers is compared with both.", "none", [("shv_watch_processes@", "{{watch}} on {{instance}}")], steps_=True),
    ], variables=[variable])


def fleet():
    by = "max by (job, instance) ({})"
    room = steps(RED, (0.05, ORANGE), (0.15, YELLOW), (0.25, GREEN))
    columns = [
        ("Answers", "none", by.format("up@"), cell(steps(RED, (1, GREEN)), YES_NO)),
        ("Level", "none", by.format(LEVEL), cell(steps(GREEN, (2, ORANGE), (4, RED)), LEVEL_NAMES)),
        ("Headroom to warning", "bytes", by.format('shv_memory_headroom_to_warning_bytes@{bound="expected"}'), []),
        ("Headroom, share", "percentunit", by.format(HEADROOM_SHARE), cell(room)),
        ("Memory", "bytes", by.format("shv_memory_total_bytes@"), []),
        ("In use", "percentunit", by.format("shv_memory_used_bytes@ / shv_memory_total_bytes@"), cell(steps(GREEN, (0.8, YELLOW), (0.9, ORANGE)))),
        ("Swap in use", "bytes", by.format("shv_memory_swap_used_bytes@"), []),
        ("Pages out a second", "cps", by.format("rate(shv_vm_swapouts_total@[$__rate_interval])"), cell(steps(GREEN, (16, YELLOW), (64, ORANGE)))),
        ("Compressor, of limit", "percentunit", by.format("shv_memory_compressor_segment_pages@ / shv_memory_compressor_segment_pages_limit@"), cell(steps(GREEN, (0.9, ORANGE), (0.98, RED)))),
        ("Plans that fit", "none", "sum by (job, instance) (shv_plan_fits_now@)", []),
        # Ten a level, less for headroom; a machine that does not answer is worst.
        ("Trouble", "none", by.format(f"10 * ({LEVEL}) - ({HEADROOM_SHARE}) or 100 * (1 - up@) > 0"), [{"id": "decimals", "value": 1}]),
    ]
    link = {"title": "Machine", "url": "/d/shv-machine?var-datasource=${datasource}&var-job=${__data.fields.Job}&var-instance=${__data.fields.Machine}&${__url_time_range}"}
    return board("shv-fleet", "Fleet memory (shvd)", "All machines, worst first.", [
        stat("Machines that answer", "Machines whose shvd Prometheus could scrape.", "none", [("sum(up@)", "answer")], (6, 4), thresholds=steps(GREEN)),
        stat("Do not answer", "Machines whose shvd Prometheus could not scrape: nothing is known about them.", "none", [("count(up@) - sum(up@)", "do not answer")], (6, 4), thresholds=steps(GREEN, (1, RED))),
        stat("Under pressure", "Machines at warning or critical.", "none", [(f"sum(({LEVEL}) > bool 1)", "under pressure")], (6, 4), thresholds=steps(GREEN, (1, ORANGE))),
        stat("Least headroom", "The smallest share of a machine's memory that may still be wired before warning.", "percentunit", [(f"min({HEADROOM_SHARE})", "least")], (6, 4), thresholds=room, graph=True),
        table("Machines", "One row a machine, worst first: not answering, then by pressure level, then by headroom. A click on the machine opens its board.", columns,
              {"instance": "Machine", "job": "Job"}, (24, 10), sort=("Trouble", True), link=link),
        series("Headroom, as a share of memory", "What may still be wired before warning, over physical memory.", "percentunit", [(HEADROOM_SHARE, "{{instance}}")], low=None, high=1),
        series("Pressure level", "1 normal, 2 warning, 4 critical.", "none", [(LEVEL, "{{instance}}")], steps_=True, names=LEVEL_NAMES, high=4),
        series("Pages swapped out", "Pages a second to swap.", "cps", [("rate(shv_vm_swapouts_total@[$__rate_interval])", "{{instance}}")]),
        series("Footprint of watched processes", "What the watched processes of each machine cost it together.", "bytes", [("sum by (job, instance) (shv_process_footprint_bytes@)", "{{instance}}")]),
        row("The daemons"),
        table("Versions", "Build and settings of each daemon.", [
            ("Build", "none", "max by (job, instance, version, os, arch) (shv_build_info@)", []),
            ("Settings taken", "none", by.format("shv_config_last_reload_successful@"), cell(steps(RED, (1, GREEN)), YES_NO)),
            ("Since", "dateTimeAsIso", by.format("process_start_time_seconds@ * 1000"), []),
        ], {"instance": "Machine", "version": "Version", "os": "System", "arch": "Processor", "job": "Job"}, (12, 8), sort=("Since", True), link=link),
        series("Age of the latest reading", "There is one a second, or as sampling.interval_ms says.", "s", [("shv_sample_age_seconds@", "{{instance}}")]),
        series("Readings that gave no sample", "A second, by reason.", "cps", [("sum by (job, instance, reason) (rate(shv_sample_failures_total@[$__rate_interval]))", "{{instance}}, {{reason}}")]),
        series("What the daemon costs", "Its own footprint.", "bytes", [("shv_own_footprint_bytes@", "{{instance}}")]),
        series("Its processor time", "Share of one core.", "percentunit", [("rate(process_cpu_seconds_total@[$__rate_interval])", "{{instance}}")]),
        series("Requests", "Requests a second, by status code.", "reqps", [("sum by (job, instance, code) (rate(shv_http_requests_total@[$__rate_interval]))", "{{instance}}, {{code}}")]),
    ])


def runs():
    by = "max by (job, instance) ({})"
    reason = "max by (job, instance, reason) (shv_pressure_reason@)"
    a_row = "max by (job, instance, row, backend) ({})"
    fast = "shv_bench_baseline_seconds@ / shv_bench_seconds@"
    wrong = steps(GREEN, (1, RED))
    return board("shv-runs", "Pressure runs and benchmarks (shvd)", "What was written to memory and read again, and how fast kernels are beside the baseline.", [
        row("Pressure runs"),
        table("Last run", "The run that is under way, or else the last one, of the daemon or the command line.", [
            ("Reason", "none", reason, [{"id": "custom.hidden", "value": True}]),
            ("Target", "bytes", by.format("shv_pressure_target_bytes@"), []),
            ("Touched", "bytes", by.format("shv_pressure_touched_bytes@"), []),
            ("Verified", "bytes", by.format("shv_pressure_verified_bytes@"), []),
            ("Mismatches", "none", by.format("shv_pressure_mismatches@"), cell(wrong)),
            ("Fill", "Bps", by.format("shv_pressure_fill_bytes_per_second@"), []),
            ("Verify", "Bps", by.format("shv_pressure_verify_bytes_per_second@"), []),
            ("Lasted", "s", by.format("shv_pressure_duration_seconds@"), []),
            ("Released in", "s", by.format("shv_pressure_release_seconds@"), cell(steps(GREEN, (2, ORANGE)))),
            ("Memory back in", "s", by.format("shv_pressure_recovery_seconds@"), cell(steps(GREEN, (2, ORANGE)))),
            ("Ended", "dateTimeAsIso", by.format("shv_pressure_last_timestamp_seconds@ * 1000"), []),
        ], {"instance": "Machine", "reason": "Why it ended", "job": "Job"}, (24, 7), sort=("Ended", True)),
        series("State", "Where the run is: starting, ramping, holding, releasing, ended.", "none", [("shv_pressure_state@ == 1", "{{state}}, {{instance}}")], steps_=True, high=1),
        series("Mismatches", "What was not as written: bytes on the host, 32-bit words on MLX. Anything but zero is an alert.", "none", [("shv_pressure_mismatches@", "{{instance}}")], steps_=True, thresholds=wrong),
        series("Memory held", "What the run is to hold, what it has written, and what its worker costs the machine, which is absent when nothing runs.", "bytes",
               [("shv_pressure_target_bytes@", "target, {{instance}}"), ("shv_pressure_touched_bytes@", "touched, {{instance}}"), ("shv_pressure_footprint_bytes@", "worker, {{instance}}")],
               styles={"target": line(GRAY, dash=True)}),
        series("Verified", "Read again and compared, all passes of the run together.", "bytes", [("shv_pressure_verified_bytes@", "{{instance}}")]),
        series("Rates", "While filling and while verifying.", "Bps",
               [("shv_pressure_fill_bytes_per_second@", "fill, {{instance}}"), ("shv_pressure_verify_bytes_per_second@", "verify, {{instance}}")]),
        series("Headroom meanwhile", "Bytes that may still be wired before the level is warning, which ends a run.", "bytes",
               [('shv_memory_headroom_to_warning_bytes@{bound="expected"}', "{{instance}}")], low=None),
        row("Benchmarks"),
        table("Beside the baseline", "The latest result of each row, and how many times as fast as the baseline's M4 Pro with 48 GB it is.", [
            ("Median", "s", a_row.format("shv_bench_seconds@"), []),
            ("Low", "s", a_row.format("shv_bench_low_seconds@"), []),
            ("High", "s", a_row.format("shv_bench_high_seconds@"), []),
            ("Baseline", "s", a_row.format("shv_bench_baseline_seconds@"), []),
            ("Times as fast", "none", a_row.format(fast), cell(steps(ORANGE, (1, GREEN))) + [{"id": "decimals", "value": 2}]),
            ("Bytes a second", "Bps", a_row.format("shv_bench_bytes_per_second@"), []),
            ("Operations a second", "short", a_row.format("shv_bench_flops_per_second@"), []),
            ("Right", "none", a_row.format("shv_bench_check_passed@"), cell(steps(RED, (1, GREEN)), YES_NO)),
            ("Above the limit", "none", a_row.format("shv_bench_above_limit@"), cell(wrong, {"0": ("no", GREEN), "1": ("yes", RED)})),
        ], {"row": "Row", "backend": "Backend", "instance": "Machine", "job": "Job"}, (24, 12), sort=("Median", True)),
        series("Times as fast as the baseline", "Over 1 is faster than the M4 Pro with 48 GB.", "none", [(fast, "{{row}}, {{instance}}")], steps_=True),
        series("Time of each row", "One call, in the latest result.", "s", [("shv_bench_seconds@", "{{row}}, {{instance}}")], steps_=True),
        stat("Running", "Whether a benchmark of the daemon is under way.", "none", [("shv_bench_running@", "{{instance}}")], (12, 4), names={"0": ("no", GRAY), "1": ("yes", GREEN)}),
        stat("Measured", "When the latest result was measured.", "dateTimeAsIso", [("shv_bench_last_timestamp_seconds@ * 1000", "{{instance}}")], (12, 4)),
    ])


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, make in (("machine", machine), ("models", models), ("fleet", fleet), ("runs", runs)):
        path, text = FOLDER / f"{name}.json", json.dumps(make(), indent=2, ensure_ascii=False) + "\n"
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.exit(f"not what scripts/dashboards.py writes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
