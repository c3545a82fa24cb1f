package aws

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The media types of the two protocols.
const (
	typeJSON = "application/x-amz-json-1.1"
	typeCBOR = "application/x-amz-cbor-1.1"
)

// targetPrefix is what X-Amz-Target has before the operation.
const targetPrefix = "Kinesis_20131202."

// writeIdle is the longest time a client may leave an answer unread.
const writeIdle = time.Minute

// call is one request on its way.
type call struct {
	*Handler
	w         http.ResponseWriter
	r         *http.Request
	control   *http.ResponseController
	id        string // x-amzn-RequestId
	protocol  codec
	operation operation // its zero value until the request has named one
	caller    credential
	names     names             // what the request is about, for error messages
	isLambda  bool              // it is one of Lambda's, and not of Kinesis'
	params    map[string]string // of the path of one of Lambda's
	code      string            // the error's, "" for a success
	begun     bool              // a part of the answer may have been sent
}

// names are what a request is about, as far as it has been read.
type names struct {
	stream, shard, consumer string
	adjacent                string // the other one of two shards
}

// identify gives the request its ids. They are for people who look for it in logs, not secrets.
func (c *call) identify() {
	var b [9 * 8]byte
	for i := range len(b) / 8 {
		binary.LittleEndian.PutUint64(b[8*i:], rand.Uint64())
	}
	header := c.w.Header()
	header["X-Amz-Id-2"] = []string{base64.StdEncoding.EncodeToString(b[:])}
	c.id = requestID([16]byte(b[:]))
	header["X-Amzn-Requestid"] = []string{c.id}
}

// requestID is a UUID of version 4, made of random bytes.
func requestID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := make([]byte, 0, 36)
	for i, n := range []int{4, 6, 8, 10, 16} {
		from := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, b[from:n])
	}
	return string(text)
}

// newRequestID is that of an invocation that no request has asked for.
func newRequestID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return requestID(b)
}

// exposed are the headers that a page of another origin may read.
const exposed = "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date"

// admit answers what is no call of an operation: preflights, other methods, pages of other origins. It says whether to go on.
func (c *call) admit() bool {
	header := c.w.Header()
	if origin := c.r.Header.Get("Origin"); origin != "" {
		header.Add("Vary", "Origin")
		if !admitted(origin, c.r.Host) {
			c.refuse(http.StatusForbidden, codeAccessDenied,
				"A page of the origin "+strconv.Quote(origin)+" may not call this host: it takes calls of its own pages and of those of this machine.")
			return false
		}
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", exposed)
		if c.r.Method == http.MethodOptions {
			header.Set("Access-Control-Max-Age", "172800")
			for _, name := range []string{"Headers", "Method"} {
				if asked := c.r.Header.Get("Access-Control-Request-" + name); asked != "" {
					header.Set("Access-Control-Allow-"+strings.TrimSuffix(name, "s")+"s", asked)
				}
			}
			header.Set("Content-Length", "0")
			c.w.WriteHeader(http.StatusOK)
			return false
		}
	}
	if c.r.Method != http.MethodPost && !c.isLambda {
		c.refuse(http.StatusForbidden, codeAccessDenied, "Unable to determine service/operation name to be authorized")
		return false
	}
	return true
}

// admitted says whether a browser's page of an origin may call a host: while signatures are not checked, any page of the web could
// otherwise read and write the streams of the machine that it is shown on.
func admitted(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	if u.Host == host || u.Hostname() == "localhost" || strings.HasSuffix(u.Hostname(), ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && ip.IsLoopback()
}

// refuse answers in XML, as AWS does before it knows the protocol.
func (c *call) refuse(status int, code, message string) {
	c.code = code
	c.w.Header().Set("x-amzn-ErrorType", code)
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.WriteHeader(status)
	fmt.Fprintf(c.w, "<%s>\n  <Message>%s</Message>\n</%s>\n", code, escapeXML.Replace(message), code)
}

var escapeXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// resolve finds protocol and operation by the headers.
func (c *call) resolve() error {
	if c.isLambda {
		return c.resolveLambda()
	}
	media, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	switch media {
	case typeJSON, "application/x-amz-json-1.0":
		c.protocol = jsonCodec{media: media}
	case typeCBOR:
		c.protocol = cborCodec{}
	case "application/json":
		c.protocol = jsonCodec{media: media, coral: true}
	default:
		c.protocol = jsonCodec{media: typeJSON}
		return &fault{code: "UnknownOperationException", status: http.StatusNotFound,
			message: fmt.Sprintf("The Content-Type is %q; it can be %s or %s.", cut(media), typeJSON, typeCBOR)}
	}
	name, ok := strings.CutPrefix(c.r.Header.Get("X-Amz-Target"), targetPrefix)
	if ok {
		c.operation, ok = c.table[name]
	}
	if !ok {
		return &fault{code: "UnknownOperationException", status: http.StatusBadRequest}
	}
	if media == "application/json" {
		return &fault{code: "UnknownOperationException", status: http.StatusNotFound}
	}
	return nil
}

// answer writes a success; nil is an empty body.
func (c *call) answer(out any) error { return c.answerWith(http.StatusOK, out) }

// answerWith writes a success with a status.
func (c *call) answerWith(status int, out any) error {
	if out == nil {
		c.writeBody(status, nil)
		return nil
	}
	b, err := c.protocol.encode(out)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.writeBody(status, b)
	return nil
}

// writeFault writes an error.
func (c *call) writeFault(f *fault) {
	c.w.Header().Set("x-amzn-ErrorType", f.code)
	c.writeBody(f.status, c.protocol.encodeFault(f))
}

// writeBody writes the whole answer. A client that does not read it is cut off.
func (c *call) writeBody(status int, b []byte) {
	c.begun = true
	header := c.w.Header()
	header["Content-Type"] = []string{c.protocol.mediaType()}
	header["Content-Length"] = []string{strconv.Itoa(len(b))}
	c.patient(func() {
		c.w.WriteHeader(status)
		// A client that has gone is none of the host's errors.
		_, _ = c.w.Write(b)
	})
}

// patient writes with a limit on how long the client may leave it unread. Where deadlines are not supported there is no
// connection to guard.
func (c *call) patient(write func()) {
	_ = c.control.SetWriteDeadline(time.Now().Add(writeIdle))
	write()
	_ = c.control.SetWriteDeadline(time.Time{})
}
