use std::sync::mpsc as std_mpsc;

use super::*;

/// What a scripted source does next.
enum Step {
    Sample(f64),
    Fail,
    /// Answers once the sender is used or dropped.
    Hang(std_mpsc::Receiver<()>, f64),
}

/// Does its steps in turn, then repeats samples that are one second apart.
struct Scripted {
    steps: std::vec::IntoIter<Step>,
    last_unix_seconds: f64,
}

impl Source for Scripted {
    fn read(&mut self) -> Result<Sample, SourceError> {
        let seconds = match self.steps.next() {
            None => self.last_unix_seconds + 1.0,
            Some(Step::Sample(seconds)) => seconds,
            Some(Step::Hang(until, seconds)) => {
                let _ = until.recv();
                seconds
            }
            Some(Step::Fail) => {
                return Err(SourceError::Kernel {
                    call: "scripted",
                    code: 5,
                    expected: "0",
                });
            }
        };
        self.last_unix_seconds = seconds;
        Ok(Sample {
            taken_at_unix_seconds: seconds,
            ..Sample::default()
        })
    }
}

fn scripted(steps: Vec<Step>) -> Box<dyn Source> {
    Box::new(Scripted {
        steps: steps.into_iter(),
        last_unix_seconds: 0.0,
    })
}

const PACE: Pace = Pace {
    interval: Duration::from_millis(20),
    timeout: Duration::from_millis(60),
};

fn start(steps: Vec<Step>) -> (watch::Receiver<Arc<Reading>>, mpsc::Sender<Order>) {
    let (latest, readings) = watch::channel(Arc::new(Reading::none_yet()));
    let (order, orders) = mpsc::channel(1);
    tokio::spawn(run(scripted(steps), PACE, orders, latest));
    (readings, order)
}

/// The next reading's time, or the reason why there is none.
async fn next(readings: &mut watch::Receiver<Arc<Reading>>) -> Result<f64, &'static str> {
    tokio::time::timeout(Duration::from_secs(5), readings.changed())
        .await
        .unwrap()
        .unwrap();
    let reading = readings.borrow_and_update();
    match &reading.outcome {
        Ok(sample) => Ok(sample.taken_at_unix_seconds),
        Err(error) => Err(error.reason()),
    }
}

#[tokio::test]
async fn a_failure_is_no_sample_and_ends_with_the_next_good_reading() {
    let (mut readings, _order) = start(vec![Step::Sample(5.0), Step::Fail, Step::Sample(7.0)]);
    assert_eq!(next(&mut readings).await, Ok(5.0));
    assert_eq!(next(&mut readings).await, Err("source"));
    assert!(
        readings
            .borrow()
            .fresh(Instant::now(), Duration::MAX)
            .is_none()
    );
    assert_eq!(next(&mut readings).await, Ok(7.0));
    assert_eq!(
        readings.borrow().failures,
        Failures {
            source: 1,
            ..Failures::default()
        }
    );
    assert_eq!(readings.borrow().sequence, 3);
}

#[tokio::test]
async fn going_back_in_time_fails_once_and_a_clock_set_back_for_good_recovers() {
    let (mut readings, _order) = start(vec![
        Step::Sample(100.0),
        Step::Sample(40.0),
        Step::Sample(41.0),
    ]);
    assert_eq!(next(&mut readings).await, Ok(100.0));
    assert_eq!(next(&mut readings).await, Err("went_back"));
    assert_eq!(next(&mut readings).await, Ok(41.0));
    assert_eq!(readings.borrow().failures.went_back, 1);
}

#[tokio::test]
async fn a_source_that_hangs_times_out_and_its_late_answer_is_not_taken() {
    let (release, hang) = std_mpsc::channel();
    let (mut readings, _order) = start(vec![
        Step::Sample(1.0),
        Step::Hang(hang, 2.0),
        Step::Sample(30.0),
    ]);
    assert_eq!(next(&mut readings).await, Ok(1.0));
    assert_eq!(next(&mut readings).await, Err("timeout"));
    assert_eq!(next(&mut readings).await, Err("timeout"));
    release.send(()).unwrap();
    // The answer that came too late carries 2.0, and is passed over.
    let mut after = next(&mut readings).await;
    if after == Err("timeout") {
        after = next(&mut readings).await;
    }
    assert_eq!(after, Ok(30.0));
}

#[tokio::test]
async fn another_source_takes_over_while_the_first_hangs() {
    let (_release, hang) = std_mpsc::channel();
    let (mut readings, order) = start(vec![Step::Hang(hang, 2.0)]);
    assert_eq!(next(&mut readings).await, Err("timeout"));
    // Many samples: on a busy machine this test may look only after several readings.
    let steps = (0..1000)
        .map(|n| Step::Sample(9.0 + f64::from(n)))
        .collect();
    let source = Some(scripted(steps));
    order.send(Order { source, pace: PACE }).await.ok().unwrap();
    let mut after = next(&mut readings).await;
    while after == Err("timeout") {
        after = next(&mut readings).await;
    }
    assert!(after.is_ok_and(|taken_at| taken_at >= 9.0), "{after:?}");
}

#[tokio::test]
async fn a_sample_ages() {
    let taken_at = shv_machine::sample::unix_seconds(SystemTime::now());
    let (mut readings, _order) = start(vec![Step::Sample(taken_at)]);
    next(&mut readings).await.unwrap();
    let reading = readings.borrow().clone();
    let second = Duration::from_secs(1);
    assert!(
        reading
            .fresh(reading.ended_at + second / 2, second)
            .is_some()
    );
    assert!(
        reading
            .fresh(reading.ended_at + 2 * second, second)
            .is_none()
    );
    assert!(
        reading
            .fresh(reading.ended_at.checked_sub(second).unwrap(), second)
            .is_some(),
        "a clock that goes back does not age it"
    );
}

#[tokio::test]
async fn a_recording_that_has_ended_ages_however_often_it_is_read() {
    let taken_at = shv_machine::sample::unix_seconds(SystemTime::now()) - 60.0;
    let (mut readings, _order) = start(vec![Step::Sample(taken_at), Step::Sample(taken_at)]);
    for _ in 0..2 {
        next(&mut readings).await.unwrap();
        let reading = readings.borrow().clone();
        let fresh = |after| reading.fresh(reading.ended_at, Duration::from_secs(after));
        assert!(fresh(59).is_none() && fresh(90).is_some());
    }
}
