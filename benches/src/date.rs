//! The day, for the headings of tables.

/// Today as in `2026-11-27`, by the system's clock.
pub fn today() -> String {
    let days = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs() / 86_400);
    let (year, month, day) = date(days as i64);
    format!("{year}-{month:02}-{day:02}")
}

/// The civil date so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // Years begin in March, so that the leap day is the last one.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates() {
        assert_eq!(super::date(0), (1970, 1, 1));
        assert_eq!(super::date(11_016), (2000, 2, 29));
        assert_eq!(super::date(20_782), (2026, 11, 25));
    }
}
