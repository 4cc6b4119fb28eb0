//! V4L2's four letters and ours, and what to ask a device for.

use encode::Format;
use sys::v4l2::{FormatOffer, SizeOffer};

/// Pictures larger than this are not asked for unless somebody does.
const USUAL: (u32, u32) = (1920, 1080);

const fn letters(name: [u8; 4]) -> u32 {
    u32::from_le_bytes(name)
}

/// What a device may call its format, and how we see it. The cheapest first: a JPEG is passed on, planes go to the
/// encoder as they are, the rest is taken apart or converted first.
const KNOWN: [(u32, Format); 11] = [
    (letters(*b"MJPG"), Format::Jpeg),
    (letters(*b"JPEG"), Format::Jpeg),
    (letters(*b"YU12"), Format::Yuv420),
    (letters(*b"422P"), Format::Yuv422),
    (letters(*b"NV12"), Format::Nv12),
    (letters(*b"UYVY"), Format::Uyvy),
    (letters(*b"YUYV"), Format::Yuyv),
    (letters(*b"XR24"), Format::Bgrx),
    (letters(*b"BGR4"), Format::Bgrx),
    (letters(*b"BGR3"), Format::Bgr24),
    (letters(*b"RGB3"), Format::Rgb24),
];

/// Our name for the four letters; `None` when we cannot read such pictures.
pub(crate) fn known(fourcc: u32) -> Option<Format> {
    KNOWN.into_iter().find(|(letters, _)| *letters == fourcc).map(|(_, format)| format)
}

/// The four letters as text, for messages.
pub(crate) fn name(fourcc: u32) -> String {
    fourcc.to_le_bytes().iter().map(|byte| char::from(*byte)).filter(char::is_ascii_graphic).collect()
}

/// What to ask for: the wanted format, else the cheapest, among those a device offers. From a device that offers
/// nothing (it does not tell) the wanted format is asked for anyway; without a wish that is `None`: whatever is set.
pub(crate) fn choose(offers: &[FormatOffer], wanted: Option<Format>) -> Option<FormatOffer> {
    let fits = |format: Format| wanted.is_none_or(|wanted| wanted == format);
    let mut candidates = KNOWN.into_iter().filter(|(_, format)| fits(*format));
    if offers.is_empty() {
        let (fourcc, _) = candidates.next().filter(|_| wanted.is_some())?;
        return Some(FormatOffer { fourcc, flags: 0 });
    }
    candidates.find_map(|(fourcc, _)| offers.iter().copied().find(|offer| offer.fourcc == fourcc))
}

/// The size to ask for: the offered one that is nearest to the wish; without a wish the largest one up to 1080p.
/// `None` leaves it to the device.
pub(crate) fn choose_size(offers: &[SizeOffer], wanted: Option<(u32, u32)>) -> Option<(u32, u32)> {
    let Some(wanted) = wanted else {
        let usual = |(width, height): &(u32, u32)| *width <= USUAL.0 && *height <= USUAL.1;
        let largest = |offer: &SizeOffer| match *offer {
            SizeOffer::Exact(width, height) => (width, height),
            SizeOffer::Between(..) => fit(*offer, USUAL),
        };
        return offers.iter().map(largest).filter(usual).max_by_key(|size| area(*size));
    };
    let distance = |size: &(u32, u32)| size.0.abs_diff(wanted.0).saturating_add(size.1.abs_diff(wanted.1));
    offers.iter().map(|offer| fit(*offer, wanted)).min_by_key(distance).or(Some(wanted))
}

fn area(size: (u32, u32)) -> u64 {
    u64::from(size.0) * u64::from(size.1)
}

/// The size of an offer that is nearest below the wish.
fn fit(offer: SizeOffer, wanted: (u32, u32)) -> (u32, u32) {
    let side = |least: u32, most: u32, step: u32, wanted: u32| {
        let inside = wanted.clamp(least, most.max(least)) - least;
        least + inside / step.max(1) * step.max(1)
    };
    match offer {
        SizeOffer::Exact(width, height) => (width, height),
        SizeOffer::Between(least, most, step) => {
            (side(least.0, most.0, step.0, wanted.0), side(least.1, most.1, step.1, wanted.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offers(names: &[&[u8; 4]]) -> Vec<FormatOffer> {
        names.iter().map(|name| FormatOffer { fourcc: letters(**name), flags: 0 }).collect()
    }

    fn chosen(names: &[&[u8; 4]], wanted: Option<Format>) -> Option<Format> {
        choose(&offers(names), wanted).and_then(|offer| known(offer.fourcc))
    }

    #[test]
    fn the_cheapest_format_is_asked_for_unless_one_is_named() {
        let all: [&[u8; 4]; 6] = [b"YUYV", b"RGB3", b"NV12", b"MJPG", b"BGR3", b"Z16 "];
        assert_eq!(chosen(&all, None), Some(Format::Jpeg));
        assert_eq!(chosen(&all[..3], None), Some(Format::Nv12));
        assert_eq!(chosen(&[b"RGB3", b"UYVY"], None), Some(Format::Uyvy));
        assert_eq!(chosen(&all, Some(Format::Rgb24)), Some(Format::Rgb24));
        assert_eq!(chosen(&all, Some(Format::Yuv420)), None, "it is not offered");
        assert_eq!(chosen(&[b"Z16 "], None), None);
    }

    #[test]
    fn a_device_that_does_not_tell_is_asked_for_what_is_wanted() {
        assert_eq!(chosen(&[], Some(Format::Yuyv)), Some(Format::Yuyv));
        assert_eq!(choose(&[], None), None);
    }

    #[test]
    fn the_size_is_the_nearest_to_the_wish_or_the_largest_usual_one() {
        let exact = [(640, 480), (3840, 2160), (1920, 1080), (1280, 720)]
            .map(|(width, height)| SizeOffer::Exact(width, height));
        assert_eq!(choose_size(&exact, None), Some((1920, 1080)));
        assert_eq!(choose_size(&exact, Some((1300, 700))), Some((1280, 720)));
        let any = [SizeOffer::Between((32, 32), (4096, 4096), (8, 2))];
        assert_eq!(choose_size(&any, None), Some((1920, 1080)));
        assert_eq!(choose_size(&any, Some((1366, 768))), Some((1360, 768)));
        assert_eq!(choose_size(&[], None), None);
        assert_eq!(choose_size(&[], Some((800, 600))), Some((800, 600)));
    }

    #[test]
    fn letters_are_shown_as_they_are_written() {
        assert_eq!(name(letters(*b"NV12")), "NV12");
        assert_eq!(name(letters(*b"Z16 ")), "Z16");
        assert_eq!(name(0), "");
    }

    proptest! {
        #[test]
        fn no_offer_of_sizes_breaks_the_arithmetic(numbers in any::<[u32; 6]>(), wanted in any::<(u32, u32)>()) {
            let [a, b, c, d, e, f] = numbers;
            let offer = SizeOffer::Between((a, b), (c, d), (e, f));
            let (width, height) = fit(offer, wanted);
            prop_assert!(width >= a && width <= c.max(a) && height >= b && height <= d.max(b));
        }
    }
}
