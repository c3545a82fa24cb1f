package event

import (
	"slices"

	"github.com/segmentio/asm/base64"
)

// appendBase64 appends data in base64 with padding.
func appendBase64(dst, data []byte) []byte {
	size := base64.StdEncoding.EncodedLen(len(data))
	dst = slices.Grow(dst, size)
	base64.StdEncoding.Encode(dst[len(dst):len(dst)+size], data)
	return dst[:len(dst)+size]
}
