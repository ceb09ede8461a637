//! Tells who waits long that time has passed, without a timer for each wait. A commit waits for milliseconds, and a timer that
//! was set for it would make the runtime wake itself and ask the kernel once more, each time.

use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;

/// From one beat to the next.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct Beat(Notify);

impl Beat {
    /// Never returns: without it nobody's time passes.
    pub async fn go_on(&self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            self.0.notify_waiters();
        }
    }

    /// Waits so long, and until the next beat.
    pub async fn after(&self, time: Duration) {
        let begun = clock::now();
        loop {
            // Before the look at the clock, so that no beat is missed between the two.
            let next = self.0.notified();
            if begun.elapsed() >= time {
                return;
            }
            next.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_the_first_beat_after_its_time() {
        let (beat, begun, time) = (Beat::default(), clock::now(), PAUSE + PAUSE / 2);
        tokio::select! {
            () = beat.go_on() => {}
            () = beat.after(time) => {}
        }
        assert!(begun.elapsed() >= PAUSE * 2);
    }
}
