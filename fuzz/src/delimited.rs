//! A reader of delimited messages of protobuf (protobuf.dev/programming-guides/encoding), as far as names and labels go: by the
//! wire format and the numbers of `io.prometheus.client.MetricFamily`, and nothing of the agent's.

/// A family's name, and of each of its metrics the labels.
pub type Families = Vec<(String, Vec<Vec<(String, String)>>)>;

/// What a field holds: the bytes of one that has a length, none of a number.
type Field<'a> = (u64, &'a [u8]);

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for nth in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * nth)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn piece<'a>(bytes: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (piece, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
    *bytes = rest;
    Some(piece)
}

/// The fields of a message.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let value = match tag & 7 {
            0 => number(&mut bytes).map(|_| &[][..])?,
            1 => piece(&mut bytes, 8)?,
            2 => {
                let length = number(&mut bytes)?;
                piece(&mut bytes, length)?
            }
            5 => piece(&mut bytes, 4)?,
            _ => return None,
        };
        all.push((tag >> 3, value));
    }
    Some(all)
}

fn text(fields: &[Field<'_>], number: u64) -> Option<String> {
    let found = fields.iter().find(|(of, _)| *of == number);
    found.map_or(Some(String::new()), |(_, bytes)| String::from_utf8(bytes.to_vec()).ok())
}

/// All of them; `None` if these are no such messages.
pub fn read(mut bytes: &[u8]) -> Option<Families> {
    let mut families = Vec::new();
    while !bytes.is_empty() {
        let length = number(&mut bytes)?;
        let family = fields(piece(&mut bytes, length)?)?;
        let mut metrics = Vec::new();
        // `metric` is field 4 of a family, `label` field 1 of a metric, name and value fields 1 and 2 of a label.
        for (_, metric) in family.iter().filter(|(number, _)| *number == 4) {
            let label = |bytes| {
                let pair = fields(bytes)?;
                Some((text(&pair, 1)?, text(&pair, 2)?))
            };
            let labels = fields(metric)?.into_iter().filter(|(number, _)| *number == 1);
            metrics.push(labels.map(|(_, bytes)| label(bytes)).collect::<Option<Vec<_>>>()?);
        }
        families.push((text(&family, 1)?, metrics));
    }
    Some(families)
}
