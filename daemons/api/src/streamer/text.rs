//! The text on a picture (sections 7.7 and 8.7): `ocr`, `ocr_langs`, and the area to read.

use super::frames::Shot;
use crate::{failure::Failure, query::Query};
use encode::Region;
use model::{check, ocr as wire};
use ocr::{Ocr, Place};

/// What clients are told of it. Looks at the disk.
pub fn show(ocr: &Ocr) -> wire::State {
    ocr.languages().map_or_else(wire::State::default, |languages| wire::State {
        enabled: true,
        langs: wire::Languages { default: languages.default, available: languages.available },
    })
}

/// What is to be read of a picture that is still to come, and the place among those that wait for it.
pub struct Reading {
    place: Place,
    area: Region,
}

impl Reading {
    /// As the query wants it. The place is taken first, so that no more pictures are taken and decoded than are read, and
    /// the time that a reading may take begins here.
    pub async fn begin(ocr: &Ocr, query: &Query) -> Result<Self, Failure> {
        let langs = query.optional("ocr_langs", |raw| check::list(raw, |name| Ok(name.to_owned())))?;
        let area = area(query)?;
        let ocr = ocr.clone();
        // Looks at the disk.
        let place = tokio::task::spawn_blocking(move || ocr.place(&langs.unwrap_or_default()));
        Ok(Self { place: place.await.map_err(Failure::internal)??, area })
    }

    /// Reads the picture.
    pub async fn of(self, shot: &Shot) -> Result<String, Failure> {
        let Self { place, area } = self;
        let jpeg = shot.data.clone();
        // The place is kept while the picture is decoded, even for a client that has left.
        let decoded = tokio::task::spawn_blocking(move || (encode::gray(&jpeg, area), place));
        let (picture, place) = decoded.await.map_err(Failure::internal)?;
        Ok(place.read(picture.map_err(Failure::internal)?).await?)
    }
}

/// An edge that is negative, or not given, is the picture's own.
fn area(query: &Query) -> Result<Region, Failure> {
    let edge = |name: &str| {
        let edge = query.optional(name, check::ocr_edge)?.filter(|edge| *edge >= 0);
        Ok::<_, Failure>(edge.map(|edge| u32::try_from(edge).unwrap_or(u32::MAX)))
    };
    Ok(Region {
        left: edge("ocr_left")?,
        top: edge("ocr_top")?,
        right: edge("ocr_right")?,
        bottom: edge("ocr_bottom")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_coordinates_and_negative_ones_the_pictures_own() {
        let query = Query::parse("ocr_left=-1&ocr_top=0&ocr_right=300&ocr_bottom=99999999999");
        let wanted = Region { left: None, top: Some(0), right: Some(300), bottom: Some(u32::MAX) };
        assert_eq!(area(&query), Ok(wanted));
        assert_eq!(area(&Query::parse("")), Ok(Region::default()));
        assert!(area(&Query::parse("ocr_left=abc")).is_err());
    }
}
