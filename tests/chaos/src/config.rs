//! The configuration of each node.

use std::{collections::HashMap, net::SocketAddr, path::Path};

use crate::scene::{Node, Upstream};

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// UDP, on a server.
    pub(crate) tunnel: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// What configurations are made of.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    pub(crate) certs: &'a Path,
    pub(crate) nodes: &'a HashMap<Node, Addresses>,
    /// Where each client finds the server: its relay.
    pub(crate) relays: &'a HashMap<Node, SocketAddr>,
    pub(crate) upstreams: &'a HashMap<Upstream, SocketAddr>,
}

impl Places<'_> {
    /// Returns a configuration whose responses show its `generation`.
    pub(crate) fn text(&self, node: Node, generation: u32) -> String {
        match node {
            Node::Server => self.server(generation),
            Node::Web1 | Node::Web2 => self.client(node, Upstream::Web, generation),
            Node::Solo => self.client(node, Upstream::Solo, generation),
        }
    }

    fn both(&self, node: Node) -> String {
        let (certs, name) = (self.certs.display(), node.name());
        let Addresses { http, admin, .. } = self.nodes[&node];
        format!(
            "[http]\nlisten = \"{http}\"\n[admin]\nlisten = \"{admin}\"\n\
             [tunnel]\ncert = \"{certs}/{name}.pem\"\nkey = \"{certs}/{name}.key\"\n"
        )
    }

    fn server(&self, generation: u32) -> String {
        let (certs, far) = (self.certs.display(), self.upstreams[&Upstream::Far]);
        let shown = format!("response_headers = {{ set = {{ x-generation = \"{generation}\" }} }}");
        format!(
            "{}listen = \"{}\"\nclient_ca = \"{certs}/ca.pem\"\n\
             [[ingress]]\nhost = \"web.test\"\ngroup = \"web\"\n{shown}\n\
             [[ingress]]\nhost = \"solo.test\"\ngroup = \"solo\"\n{shown}\n\
             [[egress]]\nhost = \"far.test\"\nupstream = \"far\"\n{shown}\n\
             [upstreams.far]\nservers = [\"http://{far}\"]\n\
             [groups.web]\nclients = [\"web-*\"]\n[groups.solo]\nclients = [\"solo\"]\n",
            self.both(Node::Server),
            self.nodes[&Node::Server].tunnel
        )
    }

    fn client(&self, node: Node, upstream: Upstream, generation: u32) -> String {
        let (certs, group, relay) = (self.certs.display(), upstream.name(), self.relays[&node]);
        format!(
            "{}connect = \"{relay}\"\nserver_name = \"localhost\"\nca = \"{certs}/ca.pem\"\ngroup = \"{group}\"\n\
             [[egress]]\nupstream = \"app\"\nresponse_headers = {{ set = {{ x-client = \"{generation}\" }} }}\n\
             [upstreams.app]\nservers = [\"http://{}\"]\n",
            self.both(node),
            self.upstreams[&upstream]
        )
    }
}
