//! Tokens that nobody issued. There is no library for forging here, and SHA-256 is short.

/// Base64 for URLs, without padding.
pub fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            text.push(LETTERS[(group >> (18 - 6 * place)) as usize & 63] as char);
        }
    }
    text
}

/// The bytes of base64 for URLs.
pub fn from_base64url(text: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'-' => 62,
        _ => 63,
    };
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        (bits, count) = (bits << 6 | u32::from(digit(letter)), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// A token with the signature that `sign` makes of its first two parts.
pub fn token(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let body = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let signature = sign(body.as_bytes());
    format!("{body}.{}", base64url(&signature))
}

/// RFC 2104 with SHA-256.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    let hashed;
    let key = if key.len() > 64 {
        hashed = sha256(key);
        &hashed
    } else {
        key
    };
    block[..key.len()].copy_from_slice(key);
    let inner = sha256(&[&block.map(|byte| byte ^ 0x36)[..], message].concat());
    sha256(&[&block.map(|byte| byte ^ 0x5C)[..], &inner].concat())
}

/// FIPS 180-4. The constants are the first bits of the roots of the first primes.
fn sha256(message: &[u8]) -> Vec<u8> {
    let primes: Vec<u32> = (2..).filter(|n| (2..*n).take_while(|d| d * d <= *n).all(|d| n % d != 0)).take(64).collect();
    let bits = |root: f64| ((root - root.floor()) * 2_f64.powi(32)) as u32;
    let constants: Vec<u32> = primes.iter().map(|prime| bits(f64::from(*prime).cbrt())).collect();
    let mut hash: Vec<u32> = primes[..8].iter().map(|prime| bits(f64::from(*prime).sqrt())).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks(64) {
        let mut words: Vec<u32> = block.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        for at in 16..64 {
            let (a, b) = (words[at - 15], words[at - 2]);
            let low = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
            let high = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
            words.push(words[at - 16].wrapping_add(low).wrapping_add(words[at - 7]).wrapping_add(high));
        }
        let mut v = hash.clone();
        for at in 0..64 {
            let high = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
            let choice = v[4] & v[5] ^ !v[4] & v[6];
            let first =
                v[7].wrapping_add(high).wrapping_add(choice).wrapping_add(constants[at]).wrapping_add(words[at]);
            let low = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
            let majority = v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2];
            v.rotate_right(1);
            v[4] = v[4].wrapping_add(first);
            v[0] = first.wrapping_add(low).wrapping_add(majority);
        }
        hash.iter_mut().zip(v).for_each(|(sum, part)| *sum = sum.wrapping_add(part));
    }
    hash.iter().flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn the_forger_knows_its_trade() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let mac = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
    assert_eq!(hex(&mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    for text in ["", "f", "fo", "foo", "foob"] {
        assert_eq!(from_base64url(&base64url(text.as_bytes())), text.as_bytes());
    }
    assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
}

/// Id and PKCS #8 of the key with which the house signs, out of its file of records.
pub async fn signing_key(records: &std::path::Path) -> (String, Vec<u8>) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(records).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let newest = "SELECT id, pkcs8 FROM signing_key WHERE pkcs8 IS NOT NULL ORDER BY signs_from_ms DESC";
    let (id, pkcs8): (String, String) = sqlx::query_as(newest).fetch_one(&mut connection).await.unwrap();
    (id, from_base64url(&pkcs8.replace('+', "-").replace('/', "_").replace('=', "")))
}
