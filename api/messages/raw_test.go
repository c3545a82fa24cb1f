package messages

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// rawClient speaks MQTT byte by byte.
type rawClient struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func dial(t testing.TB, d *doorsTest) *rawClient {
	t.Helper()
	conn, err := net.Dial("tcp", d.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	return &rawClient{conn, t, bufio.NewReader(conn)}
}

func (c *rawClient) send(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// receive returns the body of the next packet, which must be of that type.
func (c *rawClient) receive(want packetType) []byte {
	c.t.Helper()
	first, err := c.r.ReadByte()
	if err != nil {
		c.t.Fatalf("instead of packet %d: %v", want, err)
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		c.t.Fatal(err)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		c.t.Fatal(err)
	}
	if packetType(first>>4) != want {
		c.t.Fatalf("packet %d with %x, want %d", first>>4, body, want)
	}
	return body
}

// end requires that the server has closed the connection.
func (c *rawClient) end() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); err == nil {
		c.t.Fatalf("there is more: %#x", b)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		c.t.Fatal("the connection is still open")
	}
}

// connectPacket is a CONNECT with a clean session and one second of keep-alive; change may alter its body.
func connectPacket(level byte, id string, change func([]byte) []byte) []byte {
	b := appendText(nil, "MQTT")
	b = append(b, level, 0x02, 0, 1)
	if level == level5 {
		b = append(b, 0)
	}
	b = appendText(b, id)
	if change != nil {
		b = change(b)
	}
	return appendPacket(nil, packetConnect, b)
}

// publishPacket is a PUBLISH.
func publishPacket(level byte, topic string, qos byte, id uint16, payload string) []byte {
	b := appendText(nil, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	if level == level5 {
		b = append(b, 0)
	}
	b = appendPacket(nil, packetPublish, append(b, payload...))
	b[0] |= qos << 1
	return b
}
