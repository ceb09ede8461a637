//! A source that seldom has anything, in the company of sockets that have something thousands of times as often: it is
//! looked at only when it has called.
//!
//! Invariant: no call is lost. The source knows a waker of ours, which rings the bell first and then wakes the task. The
//! bell is stilled before the source is looked at, and by a swap, which sees whatever was there before the last ring: so a
//! call is either answered by this look, or the bell rings still when the task, which it has woken, comes again. Who
//! changes the source, or has taken only the first of what it may have, rings the bell itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Debug)]
struct Bell {
    rings: AtomicBool,
    task: Waker,
}

impl Bell {
    fn ring(&self) {
        self.rings.store(true, Ordering::Release);
    }

    fn is_silent(&self) -> bool {
        // Should it ring just now, the task is woken after that.
        !self.rings.load(Ordering::Relaxed) || !self.rings.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.task.wake_by_ref();
    }
}

#[derive(Debug)]
pub struct OnCall<S> {
    source: S,
    bell: Arc<Bell>,
    waker: Waker,
}

impl<S> OnCall<S> {
    pub fn new(source: S) -> Self {
        let (bell, waker) = bell(Waker::noop());
        Self { source, bell, waker }
    }

    /// For changing it.
    pub fn source(&mut self) -> &mut S {
        self.bell.ring();
        &mut self.source
    }

    /// Looks at the source if it has called, or was not looked at yet.
    pub fn poll<T>(
        &mut self,
        context: &Context<'_>,
        look: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if !self.bell.task.will_wake(context.waker()) {
            (self.bell, self.waker) = bell(context.waker());
        }
        if self.bell.is_silent() {
            return Poll::Pending;
        }
        let seen = look(&mut self.source, &mut Context::from_waker(&self.waker));
        if seen.is_ready() {
            self.bell.ring();
        }
        seen
    }
}

/// One that rings: nobody has looked yet.
fn bell(task: &Waker) -> (Arc<Bell>, Waker) {
    let bell = Arc::new(Bell { rings: AtomicBool::new(true), task: task.clone() });
    (bell.clone(), Waker::from(bell))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::mpsc;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    type Inbox = OnCall<mpsc::Receiver<u8>>;

    /// What was found, and whether anybody looked.
    fn look(inbox: &mut Inbox, waker: &Waker) -> (Option<u8>, bool) {
        let mut looked = false;
        let found = inbox.poll(&Context::from_waker(waker), |inbox, context| {
            looked = true;
            inbox.poll_recv(context)
        });
        (if let Poll::Ready(found) = found { found } else { None }, looked)
    }

    #[test]
    fn a_source_is_looked_at_once_and_then_when_it_has_called() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(task.clone());
        let (sender, receiver) = mpsc::channel(4);
        let mut inbox = OnCall::new(receiver);
        assert_eq!(look(&mut inbox, &waker), (None, true));
        assert_eq!(look(&mut inbox, &waker), (None, false));
        sender.try_send(7).unwrap();
        assert_eq!(task.0.load(Ordering::Relaxed), 1, "the task is woken");
        assert_eq!(look(&mut inbox, &waker), (Some(7), true));
    }

    #[test]
    fn all_of_what_came_with_one_call_is_found() {
        let waker = Waker::from(Arc::new(Task::default()));
        let (sender, receiver) = mpsc::channel(4);
        let mut inbox = OnCall::new(receiver);
        look(&mut inbox, &waker);
        sender.try_send(1).unwrap();
        sender.try_send(2).unwrap();
        assert_eq!(look(&mut inbox, &waker), (Some(1), true));
        assert_eq!(look(&mut inbox, &waker), (Some(2), true));
        assert_eq!(look(&mut inbox, &waker), (None, true));
        assert_eq!(look(&mut inbox, &waker), (None, false));
    }

    #[test]
    fn a_source_that_was_changed_is_looked_at() {
        let waker = Waker::from(Arc::new(Task::default()));
        let (_sender, receiver) = mpsc::channel(4);
        let mut inbox = OnCall::new(receiver);
        look(&mut inbox, &waker);
        inbox.source().close();
        assert!(look(&mut inbox, &waker).1);
    }

    #[test]
    fn another_task_is_called_after_its_first_look() {
        let (first, second) = (Arc::new(Task::default()), Arc::new(Task::default()));
        let (sender, receiver) = mpsc::channel(4);
        let mut inbox = OnCall::new(receiver);
        look(&mut inbox, &Waker::from(first.clone()));
        let waker = Waker::from(second.clone());
        assert_eq!(look(&mut inbox, &waker), (None, true));
        sender.try_send(7).unwrap();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
        assert_eq!(look(&mut inbox, &waker), (Some(7), true));
    }

    #[test]
    fn no_call_is_lost_between_two_threads() {
        let (sender, receiver) = mpsc::channel(1);
        let calls = 20_000_u32;
        let caller = std::thread::spawn(move || {
            for call in 0..calls {
                sender.blocking_send(call).unwrap();
            }
        });
        let mut inbox = OnCall::new(receiver);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for call in 0..calls {
            let next = std::future::poll_fn(|context| inbox.poll(context, |inbox, context| inbox.poll_recv(context)));
            assert_eq!(runtime.block_on(next), Some(call));
        }
        caller.join().unwrap();
    }
}
