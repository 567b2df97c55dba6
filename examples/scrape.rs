//! Scrapes an exporter and prints latencies: `scrape ADDRESS PATH SCRAPERS SECONDS RATE`, with RATE scrapes a second for
//! each scraper, spread over the time between two, or 0 for as fast as it goes. Every answer must be a 200. Loopback only.
//!
//! With `floor` for ADDRESS and a number of bytes for PATH, it scrapes threads of its own, each of which waits for a
//! request in a blocking read and answers with that many bytes: what waking up and the network take on this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("scrape: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [address, path, scrapers, seconds, rate] = arguments else {
        return Err("ADDRESS PATH SCRAPERS SECONDS RATE are expected".to_owned());
    };
    let number = |text: &String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
    let (scrapers, seconds, rate) = (
        u32::try_from(number(scrapers)?.min(64)).unwrap_or(64),
        number(seconds)?.min(600),
        number(rate)?,
    );
    let address = if address == "floor" {
        floor(number(path)?.min(1 << 24))?
    } else {
        address.parse().map_err(|e| format!("{address}: {e}"))?
    };
    if !address.ip().is_loopback() {
        return Err(format!("{address} is not on this machine"));
    }
    let pause = (rate > 0).then(|| Duration::from_secs_f64(1.0 / rate as f64));
    let until = Instant::now() + Duration::from_secs(seconds);
    let threads: Vec<_> = (0..scrapers)
        .map(|nth| {
            let path = path.clone();
            let first = Instant::now() + pause.unwrap_or_default() * nth / scrapers;
            std::thread::spawn(move || scraper(address, &path, first, until, pause))
        })
        .collect();
    let mut all = Vec::new();
    for thread in threads {
        all.extend(
            thread
                .join()
                .map_err(|_| "a scraper panicked".to_owned())??,
        );
    }
    all.sort_unstable();
    let at = |share: f64| {
        all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1)))
            .map_or(0.0, |d| d.as_secs_f64() * 1e6)
    };
    println!(
        "{} scrapes, p50 {:.0} us, p90 {:.0} us, p99 {:.0} us, max {:.0} us",
        all.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// Serves answers of so many bytes, each connection from a thread that does nothing else.
fn floor(bytes: u64) -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}",
        "x".repeat(bytes as usize)
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answers(stream, answer.as_bytes()));
        }
    });
    Ok(address)
}

fn answers(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 4096];
    // A request of the scraper comes whole.
    while stream.read(&mut request)? > 0 {
        stream.write_all(answer)?;
    }
    Ok(())
}

fn scraper(
    address: SocketAddr,
    path: &str,
    first: Instant,
    until: Instant,
    pause: Option<Duration>,
) -> Result<Vec<Duration>, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(|e| e.to_string())?;
    let mut writer = stream.try_clone().map_err(|e| e.to_string())?;
    let mut reader = BufReader::with_capacity(1 << 16, stream);
    let mut taken = Vec::new();
    let mut next = first;
    let mut body = Vec::new();
    while Instant::now() < until {
        if let Some(pause) = pause {
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += pause;
        }
        let begun = Instant::now();
        writer
            .write_all(request.as_bytes())
            .map_err(|e| e.to_string())?;
        answer(&mut reader, &mut body)?;
        taken.push(begun.elapsed());
    }
    Ok(taken)
}

/// Reads one whole answer, with a length or in chunks.
fn answer(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Result<(), String> {
    let mut line = String::new();
    let mut read_line = |reader: &mut BufReader<TcpStream>| {
        line.clear();
        reader.read_line(&mut line).map_err(|e| e.to_string())?;
        Ok::<_, String>(line.trim_end().to_ascii_lowercase())
    };
    let status = read_line(reader)?;
    if !status.starts_with("http/1.1 200") {
        return Err(format!("answered with '{status}'"));
    }
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = read_line(reader)?;
        match header.split_once(':') {
            None => break,
            Some(("content-length", value)) => {
                length = value.trim().parse().map_err(|_| header.clone())?;
            }
            Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
            Some(_) => {}
        }
    }
    let mut take = |reader: &mut BufReader<TcpStream>, bytes: usize| {
        body.resize(bytes, 0);
        reader.read_exact(body).map_err(|e| e.to_string())
    };
    if !chunked {
        return take(reader, length);
    }
    loop {
        let size = read_line(reader)?;
        let bytes = usize::from_str_radix(&size, 16).map_err(|_| size.clone())?;
        take(reader, bytes + 2)?;
        if bytes == 0 {
            return Ok(());
        }
    }
}
