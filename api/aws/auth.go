package aws

import (
	"net/http"
	"strings"
)

// credential is who says he is calling: the scope of a SigV4 signature. Its zero value is nobody.
type credential struct {
	accessKey string
	date      string // yyyymmdd
	region    string
	service   string
}

// authenticate reads who signed a request, in the Authorization header or in the query. It is the one place where a signature
// will be checked; as yet every caller is let in, also without one.
func authenticate(r *http.Request) credential {
	scope := r.URL.Query().Get("X-Amz-Credential")
	if header, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256"); ok {
		for part := range strings.SplitSeq(header, ",") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(part), "Credential="); ok {
				scope = v
			}
		}
	}
	parts := strings.Split(scope, "/")
	if len(parts) != 5 || parts[4] != "aws4_request" {
		return credential{}
	}
	return credential{accessKey: parts[0], date: parts[1], region: parts[2], service: parts[3]}
}
