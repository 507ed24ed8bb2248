//! Images that cannot be taken, collected, so that a source is repaired once and not image by image.

use std::sync::{Mutex, PoisonError};

use super::{Result, error::Error};

/// Once so many images were refused, the others are not looked at.
pub(super) const MOST_REFUSALS: usize = 50;

/// Split and index of an image, in the order of writing.
pub(super) type Place = (usize, usize);

/// Shared by all threads that convert.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Vec<(Place, Error)>>);

impl Refusals {
    /// Keeps the error of an image whose like may follow.
    ///
    /// # Errors
    /// What is no single image's fault ends the work at once.
    pub(super) fn add(&self, place: Place, error: Error) -> Result<()> {
        if !error.is_of_one_image() {
            return Err(error);
        }
        self.lock().push((place, error));
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Whether enough is known.
    pub(super) fn is_full(&self) -> bool {
        self.lock().len() >= MOST_REFUSALS
    }

    /// # Errors
    /// The only refusal, or all of them in the order of the images.
    pub(super) fn into_result(self) -> Result<()> {
        let mut refused = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        let more = refused.len() >= MOST_REFUSALS;
        refused.sort_by_key(|(place, _)| *place);
        let mut errors: Vec<Error> = refused.into_iter().map(|(_, error)| error).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Images { errors, more }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Place, Error)>> {
        // A push leaves the list whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str) -> Error {
        Error::Image { path: name.into(), reason: "it is torn".to_owned() }
    }

    #[test]
    fn all_refused_images_are_named_in_their_order() {
        let refusals = Refusals::default();
        for (place, name) in [((1, 0), "c.png"), ((0, 7), "b.png"), ((0, 2), "a.png")] {
            refusals.add(place, refusal(name)).unwrap();
        }
        assert!(!refusals.is_empty() && !refusals.is_full());
        let message = refusals.into_result().unwrap_err().to_string();
        let names: Vec<_> =
            message.lines().skip(1).map(|line| &line[line.find(".png").unwrap() - 1..][..5]).collect();
        assert_eq!(names, ["a.png", "b.png", "c.png"], "{message}");
        assert!(message.starts_with("failed to take 3 images:"), "{message}");
    }

    #[test]
    fn one_refusal_is_itself_and_many_end_the_search() {
        let one = Refusals::default();
        one.add((0, 0), refusal("a.png")).unwrap();
        assert!(matches!(one.into_result(), Err(Error::Image { .. })));
        assert!(Refusals::default().into_result().is_ok());
        let many = Refusals::default();
        (0..MOST_REFUSALS).for_each(|index| many.add((0, index), refusal("a.png")).unwrap());
        assert!(many.is_full());
        assert!(many.into_result().unwrap_err().to_string().contains("50 images and perhaps more"));
    }

    #[test]
    fn what_is_no_images_fault_ends_the_work() {
        let error = Error::EmptyPart { name: "up".to_owned(), part: "test" };
        assert!(Refusals::default().add((0, 0), error).is_err());
    }
}
