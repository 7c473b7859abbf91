//! Who is there: a server, two clients of the group `web`, one of the group `solo`, and a backend for each way.

/// A process of adit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Server,
    Web1,
    Web2,
    Solo,
}

impl Node {
    pub(crate) const ALL: [Self; 4] = [Self::Server, Self::Web1, Self::Web2, Self::Solo];
    pub(crate) const CLIENTS: [Self; 3] = [Self::Web1, Self::Web2, Self::Solo];

    /// The name in its certificate.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Web1 => "web-1",
            Self::Web2 => "web-2",
            Self::Solo => "solo",
        }
    }
}

/// What answers in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Upstream {
    /// Behind both clients of `web`.
    Web,
    /// Behind the client of `solo`.
    Solo,
    /// Behind the server.
    Far,
}

impl Upstream {
    pub(crate) const ALL: [Self; 3] = [Self::Web, Self::Solo, Self::Far];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Solo => "solo",
            Self::Far => "far",
        }
    }
}

/// A way through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Visitor → server → one of two clients.
    WebReverse,
    /// Visitor → server → the only client.
    SoloReverse,
    /// Local app → the first client of `web` → server.
    WebForward,
    /// Local app → the client of `solo` → server.
    SoloForward,
}

impl Lane {
    pub(crate) const ALL: [Self; 4] = [Self::WebReverse, Self::SoloReverse, Self::WebForward, Self::SoloForward];

    /// Whose entry it begins at.
    pub(crate) fn entry(self) -> Node {
        match self {
            Self::WebReverse | Self::SoloReverse => Node::Server,
            Self::WebForward => Node::Web1,
            Self::SoloForward => Node::Solo,
        }
    }

    /// Where it ends.
    pub(crate) fn upstream(self) -> Upstream {
        match self {
            Self::WebReverse => Upstream::Web,
            Self::SoloReverse => Upstream::Solo,
            Self::WebForward | Self::SoloForward => Upstream::Far,
        }
    }

    /// The name of the backend at its end.
    pub(crate) fn backend(self) -> &'static str {
        self.upstream().name()
    }

    /// What visitors ask for.
    pub(crate) fn host(self) -> &'static str {
        match self.upstream() {
            Upstream::Web => "web.test",
            Upstream::Solo => "solo.test",
            Upstream::Far => "far.test",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WebReverse => "visitor → web",
            Self::SoloReverse => "visitor → solo",
            Self::WebForward => "app at web-1 → server",
            Self::SoloForward => "app at solo → server",
        }
    }
}
