//! Machines and their ceilings.

use super::*;

#[test]
fn the_machine_it_began_from() {
    let machine = find("m4-pro-48gb").unwrap();
    assert_eq!(
        (machine.working_set_bytes, machine.working_set_exact),
        (40_200_896_512, true)
    );
    assert_eq!(machine.bandwidth_bytes_per_second, 273_000_000_000);
    assert_eq!(find("M4 Pro 48GB").unwrap(), machine);
    assert_eq!(find(default_name()).unwrap(), machine);
}

#[test]
fn unknown_sizes_are_interpolated_and_say_so() {
    let machine = find("m4-max-40gb").unwrap();
    assert!(
        !machine.working_set_exact && machine.working_set_why.contains("interpolated"),
        "{}",
        machine.working_set_why
    );
    let share = machine.working_set_bytes as f64 / machine.memory_bytes as f64;
    assert!((0.77..0.79).contains(&share), "{share}");
    let ultra = find("m3-ultra-512gb").unwrap();
    assert_eq!(ultra.working_set_bytes, 498_216_206_336);
}

#[test]
fn names_that_are_none_say_what_is_accepted() {
    for bad in [
        "",
        "48gb",
        "m4-pro",
        "m4-pro-48",
        "m9-pro-48gb",
        "m4-pro-3gb",
        "m4-pro-99999999999999999999gb",
        "m4-pro--1gb",
    ] {
        assert!(find(bad).is_err(), "{bad}");
    }
    assert!(
        find("m4-pro-48g")
            .unwrap_err()
            .to_string()
            .contains("Did you mean m4-pro-48gb?")
    );
    assert!(
        find("m9-pro-48gb")
            .unwrap_err()
            .to_string()
            .contains("m4-pro")
    );
}

#[test]
fn a_wired_limit_replaces_the_working_set() {
    let machine = find("m5-pro-48gb").unwrap();
    let all = ceilings(
        &machine,
        Backend::Metal,
        Limits {
            wired_limit_mib: Some(45_056),
            ..Limits::default()
        },
    );
    assert_eq!(all[0].bytes, 47_244_640_256);
    let default = ceilings(
        &machine,
        Backend::Metal,
        Limits {
            wired_limit_mib: Some(0),
            ..Limits::default()
        },
    );
    assert_eq!(default[0].bytes, machine.working_set_bytes);
}

#[test]
fn every_machine_of_the_table_is_sound() {
    for machine in machines() {
        assert!(
            machine.working_set_bytes < machine.memory_bytes,
            "{}",
            machine.name
        );
        assert!(
            machine.working_set_bytes > machine.memory_bytes / 2,
            "{}",
            machine.name
        );
        assert!(
            machine.bandwidth_bytes_per_second > 50_000_000_000,
            "{}",
            machine.name
        );
        assert_eq!(find(&machine.name).unwrap(), machine);
    }
}
