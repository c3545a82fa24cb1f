// Package egress makes connections to where others say, and not to where they should not lead: into this machine and its network.
//
// A [Dialer] connects to public addresses, to private ones of hosts that the operator has listed, and never to those that hand out the
// credentials of cloud machines. An address is checked when the connection is made, after the name was resolved, so that a name cannot change its
// meaning in between. A [Client] makes HTTP requests over it, whole, with limits on all that comes back.
//
// # Non-goals
//
// It uses no proxy: that would connect where nobody can look. It keeps no cookies, sends no credentials by itself, and repeats nothing.
package egress
