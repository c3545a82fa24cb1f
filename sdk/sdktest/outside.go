package sdktest

import "github.com/shardmill/shardmill/sdk"

// outside is what a call's handler reaches: the fields of Call are what it is granted.
type outside struct{ call Call }

// Secret is a secret of the call.
func (o *outside) Secret(name string) ([]byte, error) {
	value, ok := o.call.Secrets[name]
	if !ok {
		return nil, sdk.ErrDenied
	}
	return []byte(value), nil
}
