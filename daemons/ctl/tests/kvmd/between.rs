//! A network that can be cut: a listener that hands connections on to an appliance, and knows what was asked.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What happens to the first upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// After so many bytes of its body nothing more arrives, and nobody is told.
    Stalls(usize),
    /// After so many bytes of its body both ends see it end.
    Breaks(usize),
    /// Nothing of it arrives, not even its head.
    Vanishes,
    /// All of it arrives, and the answer is lost.
    Unanswered,
}

/// The network.
pub(crate) struct Between {
    pub(crate) address: SocketAddr,
    uploads: Arc<Mutex<Vec<String>>>,
}

impl Between {
    pub(crate) fn start(to: SocketAddr, fate: Fate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let uploads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&uploads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || carry(&stream, to, fate, &seen));
            }
        });
        Self { address, uploads }
    }

    /// The heads of all uploads there were.
    pub(crate) fn uploads(&self) -> Vec<String> {
        self.uploads.lock().unwrap().clone()
    }
}

fn carry(from: &TcpStream, to: SocketAddr, fate: Fate, uploads: &Mutex<Vec<String>>) {
    let mut server = TcpStream::connect(to).unwrap();
    let mut client = BufReader::new(from.try_clone().unwrap());
    let mut head = String::new();
    while client.read_line(&mut head).is_ok_and(|count| count > 2) {}
    let first = head.starts_with("POST /api/msd/write?") && {
        let mut uploads = uploads.lock().unwrap();
        uploads.push(head.clone());
        uploads.len() == 1
    };
    if first && fate == Fate::Vanishes {
        let _ = from.shutdown(Shutdown::Both);
        return;
    }
    if server.write_all(head.as_bytes()).is_err() {
        return;
    }
    let mut answers = (server.try_clone().unwrap(), from.try_clone().unwrap());
    if first && fate == Fate::Unanswered {
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<u64>().unwrap())
        });
        let _ = std::io::copy(&mut (&mut client).take(length.unwrap()), &mut server);
        // The appliance has answered, so it is whole.
        let _ = answers.0.read(&mut [0; 1024]);
        let _ = from.shutdown(Shutdown::Both);
        return;
    }
    std::thread::spawn(move || std::io::copy(&mut answers.0, &mut answers.1));
    if let (true, Fate::Stalls(bytes) | Fate::Breaks(bytes)) = (first, fate) {
        let mut body = (&mut client).take(u64::try_from(bytes).unwrap());
        let _ = std::io::copy(&mut body, &mut server);
        if matches!(fate, Fate::Stalls(_)) {
            // Until the sender is gone, and then the appliance sees that it is.
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
        let _ = from.shutdown(Shutdown::Both);
    } else {
        let _ = std::io::copy(&mut client, &mut server);
    }
    let _ = server.shutdown(Shutdown::Both);
}
