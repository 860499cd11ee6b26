// Package peer is the network between the nodes of one deployment: the
// messages of the replication engine, HTTP calls, and byte streams for proxied
// sessions, all over mutual TLS 1.3 on one port.
//
// It guarantees that whatever it hands over came from the node it names: the
// peer's certificate was signed by an authority of the bundle, is in force,
// names this deployment, and its node is allowed; and that what it sends goes
// to the node it was meant for, by the same proof. A node that is no longer
// allowed loses the connections that stand. The one door without a client's
// certificate is that for joining, which serves one handler and nothing else.
// Every queue and every frame is bounded. Certificates and authorities may
// change at any time: each handshake uses those of its moment.
//
// Messages of the engine may be lost, at a full queue or with a link, and are
// then counted; those that arrive are in order. It must not know what messages
// and calls mean, nor decide who is a member. Package cluster owns it; the
// doors get its streams.
package peer
