package messages

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The MQTT packets that a client sends to a server which only takes messages, as MQTT 3.1.1 and MQTT 5.0 (OASIS)
// define them; section numbers are those of 5.0.

// packetType is the high half of a packet's first byte (section 2.1.2).
type packetType byte

const (
	packetConnect     packetType = 1
	packetConnack     packetType = 2
	packetPublish     packetType = 3
	packetPuback      packetType = 4
	packetSubscribe   packetType = 8
	packetSuback      packetType = 9
	packetUnsubscribe packetType = 10
	packetUnsuback    packetType = 11
	packetPingreq     packetType = 12
	packetPingresp    packetType = 13
	packetDisconnect  packetType = 14
)

// Protocol levels (section 3.1.2.2).
const (
	level311 = 4
	level5   = 5
)

// reason is a reason code of MQTT 5.0 (section 2.4).
type reason byte

const (
	reasonOK             reason = 0x00
	reasonWithWill       reason = 0x04
	reasonNoSubscription reason = 0x11
	reasonUnspecified    reason = 0x80
	reasonMalformed      reason = 0x81
	reasonProtocol       reason = 0x82
	reasonImplementation reason = 0x83
	reasonVersion        reason = 0x84
	reasonClientID       reason = 0x85
	reasonNotAuthorized  reason = 0x87
	reasonStopping       reason = 0x8B
	reasonAuthMethod     reason = 0x8C
	reasonKeepAlive      reason = 0x8D
	reasonTakenOver      reason = 0x8E
	reasonTopicName      reason = 0x90
	reasonTopicAlias     reason = 0x94
	reasonTooLarge       reason = 0x95
	reasonQuota          reason = 0x97
	reasonPayload        reason = 0x99
	reasonQoS            reason = 0x9B
)

// Codes of 3.1.1: of CONNACK (its section 3.2.2.3), and of SUBACK (3.9.3).
const (
	oldVersion       = 1
	oldClientID      = 2
	oldUnavailable   = 3
	oldSubackFailure = 0x80
)

// maxTopicBytes is the limit of a string.
const maxTopicBytes = 65_535

// protocolError is a packet that may not be. Code is what a client of MQTT 5.0 is told before it is disconnected.
type protocolError struct {
	code reason
	text string
}

func (e *protocolError) Error() string { return "MQTT: " + e.text }

func malformed(format string, args ...any) error {
	return &protocolError{reasonMalformed, fmt.Sprintf(format, args...)}
}

// parser takes fields off a packet's body. After its first error it returns zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = malformed(format, args...)
	}
	p.b = nil
}

func (p *parser) take(n int) []byte {
	if n > len(p.b) {
		p.fail("%d bytes where %d are needed", len(p.b), n)
		return nil
	}
	head := p.b[:n:n]
	p.b = p.b[n:]
	return head
}

func (p *parser) byte() byte {
	if b := p.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (p *parser) uint16() uint16 {
	if b := p.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// binary is a field with a length of two bytes (section 1.5.6).
func (p *parser) binary() []byte { return p.take(int(p.uint16())) }

// text is a UTF-8 string (section 1.5.4).
func (p *parser) text() string {
	b := p.binary()
	if !utf8.Valid(b) {
		p.fail("a string is not UTF-8")
		return ""
	}
	s := string(b)
	if strings.IndexByte(s, 0) >= 0 {
		p.fail("a string holds U+0000")
		return ""
	}
	return s
}

// varint is a variable byte integer (section 1.5.5).
func (p *parser) varint() int {
	v := 0
	for shift := 0; shift < 28; shift += 7 {
		b := p.byte()
		v |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
	p.fail("a variable byte integer has more than four bytes")
	return 0
}

// end requires that nothing is left.
func (p *parser) end() error {
	if p.err == nil && len(p.b) > 0 {
		p.fail("%d bytes behind the end", len(p.b))
	}
	return p.err
}

// Properties that are looked at (section 2.2.2.2).
const (
	propSessionExpiry = 0x11
	propAssignedID    = 0x12
	propAuthMethod    = 0x15
	propReason        = 0x1F
	propReceiveMax    = 0x21
	propTopicAlias    = 0x23
	propMaxQoS        = 0x24
	propUser          = 0x26
	propMaxPacket     = 0x27
	propWildcards     = 0x28
	propSubIDs        = 0x29
	propShared        = 0x2A
)

// propWidths are the sizes of the properties that clients send in the packets read here: bytes, or one of the
// negative numbers below.
var propWidths = map[int]int{
	0x01: 1, 0x02: 4, 0x03: widthText, 0x08: widthText, 0x09: widthBinary, 0x0B: widthVarint, 0x11: 4, 0x15: widthText,
	0x16: widthBinary, 0x17: 1, 0x18: 4, 0x19: 1, 0x1F: widthText, 0x21: 2, 0x22: 2, 0x23: 2, 0x26: widthPair, 0x27: 4,
}

const (
	widthText   = -1
	widthBinary = -2
	widthVarint = -3
	widthPair   = -4
)

// Which properties a packet may carry, by a bit each (section 2.2.2.2).
const (
	inConnect     = 1<<0x11 | 1<<0x15 | 1<<0x16 | 1<<0x17 | 1<<0x19 | 1<<0x21 | 1<<0x22 | 1<<0x26 | 1<<0x27
	inWill        = 1<<0x01 | 1<<0x02 | 1<<0x03 | 1<<0x08 | 1<<0x09 | 1<<0x18 | 1<<0x26
	inPublish     = 1<<0x01 | 1<<0x02 | 1<<0x03 | 1<<0x08 | 1<<0x09 | 1<<0x23 | 1<<0x26
	inSubscribe   = 1<<0x0B | 1<<0x26
	inUnsubscribe = 1 << 0x26
	inDisconnect  = 1<<0x11 | 1<<0x1F | 1<<0x26
)

// properties reads a list of properties and returns those that are there, a bit each.
func (p *parser) properties(allowed uint64) (seen uint64) {
	list := parser{b: p.take(p.varint())}
	for p.err == nil && len(list.b) > 0 {
		id := list.varint()
		width, known := propWidths[id]
		if !known || allowed&(1<<id) == 0 {
			p.fail("property %#x may not be here", id)
			return 0
		}
		if seen&(1<<id) != 0 && id != propUser {
			p.err = &protocolError{reasonProtocol, fmt.Sprintf("property %#x is there twice", id)}
			return 0
		}
		seen |= 1 << id
		switch width {
		case widthText:
			list.text()
		case widthBinary:
			list.binary()
		case widthVarint:
			list.varint()
		case widthPair:
			list.text()
			list.text()
		default:
			list.take(width)
		}
		if list.err != nil {
			p.err = list.err
		}
	}
	return seen
}

// connect is a CONNECT packet (section 3.1).
type connect struct {
	level     byte
	clean     bool
	keepAlive uint16 // seconds; 0: none
	clientID  string
	expiry    bool // the client asks for a session that outlives the connection
	will      *publish
}

// parseConnect reads the body of a CONNECT. Error: *protocolError; with reasonVersion the rest is not looked at.
func parseConnect(body []byte) (connect, error) {
	p := parser{b: body}
	name := p.text()
	c := connect{level: p.byte()}
	if p.err != nil {
		return c, p.err
	}
	if name != "MQTT" || c.level != level311 && c.level != level5 {
		return c, &protocolError{reasonVersion, fmt.Sprintf("protocol %q level %d; 3.1.1 and 5.0 are spoken here", name, c.level)}
	}
	flags := p.byte()
	c.clean, c.keepAlive = flags&0x02 != 0, p.uint16()
	var seen uint64
	if c.level == level5 {
		seen = p.properties(inConnect)
		c.expiry = seen&(1<<propSessionExpiry) != 0
	}
	c.clientID = p.text()
	willQoS := flags >> 3 & 3
	switch {
	case flags&1 != 0:
		p.fail("the reserved flag of CONNECT is set")
	case flags&0x04 == 0 && flags&0x38 != 0, willQoS == 3:
		p.fail("flags of a will that cannot be: %#x", flags)
	case c.level == level311 && flags&0xC0 == 0x40:
		p.fail("a password without a user name")
	}
	if flags&0x04 != 0 {
		c.will = &publish{qos: willQoS}
		if c.level == level5 {
			p.properties(inWill)
		}
		c.will.topic = p.text()
		c.will.payload = p.binary()
		if p.err == nil {
			p.err = checkTopic(c.will.topic)
		}
	}
	if flags&0x80 != 0 {
		p.text()
	}
	if flags&0x40 != 0 {
		p.binary()
	}
	if err := p.end(); err != nil {
		return c, err
	}
	if seen&(1<<propAuthMethod) != 0 {
		return c, &protocolError{reasonAuthMethod, "enhanced authentication is not spoken here"}
	}
	return c, nil
}

// publish is a PUBLISH packet (section 3.3), or a will. The payload is a view of the packet.
type publish struct {
	topic   string
	payload []byte
	id      uint16 // with QoS above 0
	qos     byte
}

// parsePublish reads the body of a PUBLISH. Error: *protocolError.
func parsePublish(level, flags byte, body []byte) (publish, error) {
	p := parser{b: body}
	m := publish{qos: flags >> 1 & 3}
	if m.qos == 3 {
		return m, malformed("QoS 3")
	}
	m.topic = p.text()
	if m.qos > 0 {
		if m.id = p.uint16(); m.id == 0 && p.err == nil {
			p.fail("packet identifier 0")
		}
	}
	if level == level5 {
		if seen := p.properties(inPublish); seen&(1<<propTopicAlias) != 0 && p.err == nil {
			return m, &protocolError{reasonTopicAlias, "a topic alias, of which none was granted"}
		}
	}
	if p.err != nil {
		return m, p.err
	}
	m.payload = p.b
	return m, checkTopic(m.topic)
}

// checkTopic says whether a topic can be published to (section 4.7.1).
func checkTopic(topic string) error {
	if topic == "" || strings.ContainsAny(topic, "+#") {
		return &protocolError{reasonTopicName, fmt.Sprintf("topic %.100q cannot be published to", topic)}
	}
	return nil
}

// parseFilters reads the body of a SUBSCRIBE or UNSUBSCRIBE: its packet identifier and how many filters it has.
// Error: *protocolError.
func parseFilters(kind packetType, level byte, body []byte) (id uint16, filters int, err error) {
	p := parser{b: body}
	if id = p.uint16(); id == 0 && p.err == nil {
		p.fail("packet identifier 0")
	}
	allowed := uint64(inUnsubscribe)
	if kind == packetSubscribe {
		allowed = inSubscribe
	}
	if level == level5 {
		p.properties(allowed)
	}
	for ; p.err == nil && len(p.b) > 0; filters++ {
		p.text()
		if kind == packetSubscribe {
			p.byte()
		}
	}
	if filters == 0 && p.err == nil {
		p.err = &protocolError{reasonProtocol, "no topic filter"}
	}
	return id, filters, p.err
}

// parseDisconnect reads the body of a DISCONNECT. Error: *protocolError.
func parseDisconnect(level byte, body []byte) (reason, error) {
	p := parser{b: body}
	code := reasonOK
	if level == level5 && len(body) > 0 {
		code = reason(p.byte())
		if len(p.b) > 0 {
			p.properties(inDisconnect)
		}
	}
	return code, p.end()
}

// parseEmpty requires a body without bytes.
func parseEmpty(body []byte) error { return (&parser{b: body}).end() }

// appendVarint appends a variable byte integer below 2^28.
func appendVarint(b []byte, v int) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// appendPacket appends a packet with that body.
func appendPacket(b []byte, kind packetType, body []byte) []byte {
	return append(appendVarint(append(b, byte(kind)<<4), len(body)), body...)
}

// appendConnack appends a CONNACK (section 3.2) that lets a client in. assigned is the identifier it is given, "" when
// it has brought its own.
func appendConnack(b []byte, c *connect, assigned string) []byte {
	if c.level == level311 {
		return append(b, byte(packetConnack)<<4, 2, 0, 0)
	}
	var props []byte
	if c.expiry {
		props = append(props, propSessionExpiry, 0, 0, 0, 0)
	}
	props = binary.BigEndian.AppendUint16(append(props, propReceiveMax), window)
	props = append(props, propMaxQoS, 1)
	props = binary.BigEndian.AppendUint32(append(props, propMaxPacket), MaxMessageBytes)
	if assigned != "" {
		props = appendText(append(props, propAssignedID), assigned)
	}
	props = append(props, propWildcards, 0, propSubIDs, 0, propShared, 0)
	return appendPacket(b, packetConnack, append(appendVarint([]byte{0, 0}, len(props)), props...))
}

// appendConnackError appends a CONNACK that does not.
func appendConnackError(b []byte, level byte, code reason) []byte {
	if level == level5 {
		return append(b, byte(packetConnack)<<4, 3, 0, byte(code), 0)
	}
	old := byte(oldUnavailable)
	switch code {
	case reasonVersion:
		old = oldVersion
	case reasonClientID:
		old = oldClientID
	}
	return append(b, byte(packetConnack)<<4, 2, 0, old)
}

// appendPuback appends a PUBACK (section 3.4). A code other than reasonOK can be said in 5.0 only.
func appendPuback(b []byte, id uint16, code reason) []byte {
	if code == reasonOK {
		return append(b, byte(packetPuback)<<4, 2, byte(id>>8), byte(id))
	}
	return append(b, byte(packetPuback)<<4, 3, byte(id>>8), byte(id), byte(code))
}

// appendRefusal appends the SUBACK (section 3.9) or UNSUBACK (3.11) of a server without subscriptions.
func appendRefusal(b []byte, kind packetType, level byte, id uint16, filters int) []byte {
	body := binary.BigEndian.AppendUint16(nil, id)
	answer, code := packetSuback, reasonNotAuthorized
	if kind == packetUnsubscribe {
		answer, code = packetUnsuback, reasonNoSubscription
	}
	if level == level311 {
		if kind == packetUnsubscribe {
			return appendPacket(b, answer, body)
		}
		code = oldSubackFailure
	} else {
		const text = "this server takes messages and sends none"
		props := appendText([]byte{propReason}, text)
		body = append(appendVarint(body, len(props)), props...)
	}
	for range filters {
		body = append(body, byte(code))
	}
	return appendPacket(b, answer, body)
}

// appendDisconnect appends a server's DISCONNECT (section 3.14), which 3.1.1 does not know.
func appendDisconnect(b []byte, code reason) []byte {
	return append(b, byte(packetDisconnect)<<4, 1, byte(code))
}
