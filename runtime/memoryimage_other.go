//go:build !linux

package runtime

import "errors"

// newImageFile has no such file to give: images are copied.
func newImageFile(int) (file int, view []byte, err error) { return -1, nil, errors.ErrUnsupported }

func sealImageFile(int, []byte) error { return errors.ErrUnsupported }

func mapImageFile(int, []byte) error { return errors.ErrUnsupported }
