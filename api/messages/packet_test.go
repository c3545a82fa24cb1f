package messages

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConnect(t *testing.T) {
	b := append(appendText(nil, "MQTT"), level5, 0xEE, 0x01, 0x02)
	props := append([]byte{propSessionExpiry, 0, 0, 0, 9, propReceiveMax, 0, 5, propUser}, appendText(appendText(nil, "a"), "b")...)
	b = append(append(b, byte(len(props))), props...)
	b = appendText(b, "id")
	b = append(b, 5, 0x18, 0, 0, 0, 1) // will delay
	b = appendText(appendText(appendText(appendText(b, "topic"), "will"), "user"), "password")
	c, err := parseConnect(b)
	if err != nil {
		t.Fatal(err)
	}
	if c.level != level5 || !c.clean || c.keepAlive != 258 || c.clientID != "id" || !c.expiry ||
		c.will == nil || c.will.topic != "topic" || string(c.will.payload) != "will" || c.will.qos != 1 {
		t.Errorf("%+v", c)
	}
	for n := range b {
		if _, err := parseConnect(b[:n]); !errors.As(err, new(*protocolError)) {
			t.Errorf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestParsePublish(t *testing.T) {
	for _, level := range []byte{level311, level5} {
		for qos := range byte(2) {
			packet := publishPacket(level, "a/b", qos, 300, "payload")
			m, err := parsePublish(level, packet[0]&0x0f|9, packet[2:]) // with DUP and RETAIN
			if err != nil || m.topic != "a/b" || string(m.payload) != "payload" || m.qos != qos || m.id != 300*uint16(qos) {
				t.Errorf("level %d QoS %d: %+v, %v", level, qos, m, err)
			}
		}
	}
}

func TestVarints(t *testing.T) {
	for _, v := range []int{0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455} {
		p := parser{b: appendVarint(nil, v)}
		if got := p.varint(); got != v || p.end() != nil {
			t.Errorf("%d came back as %d, %v", v, got, p.err)
		}
	}
	p := parser{b: []byte{0xff, 0xff, 0xff, 0xff, 0}}
	if p.varint(); p.err == nil {
		t.Error("five bytes are taken")
	}
}

func TestPackets(t *testing.T) {
	for _, tc := range []struct {
		name string
		got  []byte
		want []byte
	}{
		{"PUBACK", appendPuback(nil, 258, reasonOK), []byte{0x40, 2, 1, 2}},
		{"PUBACK with a reason", appendPuback(nil, 258, reasonQuota), []byte{0x40, 3, 1, 2, 0x97}},
		{"CONNACK 3.1.1", appendConnack(nil, &connect{level: level311}, "x"), []byte{0x20, 2, 0, 0}},
		{"SUBACK 3.1.1", appendRefusal(nil, packetSubscribe, level311, 258, 2), []byte{0x90, 4, 1, 2, 0x80, 0x80}},
		{"UNSUBACK 3.1.1", appendRefusal(nil, packetUnsubscribe, level311, 258, 2), []byte{0xB0, 2, 1, 2}},
		{"DISCONNECT", appendDisconnect(nil, reasonStopping), []byte{0xE0, 1, 0x8B}},
		{"PINGRESP", appendPacket(nil, packetPingresp, nil), []byte{0xD0, 0}},
	} {
		if !bytes.Equal(tc.got, tc.want) {
			t.Errorf("%s: %x, want %x", tc.name, tc.got, tc.want)
		}
	}
}

// FuzzPacket gives every decoder whatever bytes: each returns a *protocolError or what a client may say.
func FuzzPacket(f *testing.F) {
	f.Add(connectPacket(level5, "c", nil)[2:], byte(0))
	f.Add(publishPacket(level5, "t", 1, 1, "x")[2:], byte(2))
	f.Add([]byte{0, 9, 2, 0x0B, 1, 0, 1, 'a', 0}, byte(2))
	f.Fuzz(func(t *testing.T, body []byte, flags byte) {
		check := func(err error) {
			if err != nil && !errors.As(err, new(*protocolError)) {
				t.Fatalf("%T %v", err, err)
			}
		}
		c, err := parseConnect(body)
		check(err)
		if err == nil && c.will != nil && checkTopic(c.will.topic) != nil {
			t.Fatalf("will to %q", c.will.topic)
		}
		for _, level := range []byte{level311, level5} {
			m, err := parsePublish(level, flags&0x0f, body)
			check(err)
			if err == nil && (checkTopic(m.topic) != nil || m.qos > 2 || m.qos > 0 && m.id == 0) {
				t.Fatalf("%+v", m)
			}
			for _, kind := range []packetType{packetSubscribe, packetUnsubscribe} {
				id, n, err := parseFilters(kind, level, body)
				check(err)
				if err == nil && (id == 0 || n < 1 || n > len(body)) {
					t.Fatalf("identifier %d, %d filters", id, n)
				}
			}
			_, err = parseDisconnect(level, body)
			check(err)
		}
	})
}

// Acknowledgements leave in the order of the messages, whichever is settled first.
func TestOutbox(t *testing.T) {
	for _, level := range []byte{level311, level5} {
		o := newOutbox(level)
		var tickets []uint64
		for id := range uint16(4) {
			ticket, err := o.expect(t.Context(), id+1)
			if err != nil {
				t.Fatal(err)
			}
			tickets = append(tickets, ticket)
		}
		o.settle(tickets[1], reasonOK)
		if len(o.unsent) != 0 {
			t.Errorf("%x is sent before its turn", o.unsent)
		}
		o.settle(tickets[0], reasonOK)
		got, more := o.take(nil)
		if want := []byte{0x40, 2, 0, 1, 0x40, 2, 0, 2}; !cmp.Equal(got, want) || !more {
			t.Errorf("%x", got)
		}
		stays := o.settle(tickets[2], reasonQuota)
		o.settle(tickets[3], reasonOK)
		if stays != (level == level5) {
			t.Errorf("level %d stays connected: %t", level, stays)
		}
		if err := o.drain(t.Context()); err != nil {
			t.Error(err)
		}
		o.close([]byte{0xE0, 0})
		got, more = o.take(got)
		want := []byte{0xE0, 0}
		if level == level5 {
			want = []byte{0x40, 3, 0, 3, 0x97, 0x40, 2, 0, 4, 0xE0, 0}
		}
		if !cmp.Equal(got, want) || more {
			t.Errorf("level %d: %x", level, got)
		}
	}
}
