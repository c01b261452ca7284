// Package strictyaml reads YAML into structs that have to know every key.
package strictyaml

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
)

// Problem is a mistake in the text. Line and Column count from 1.
type Problem struct {
	Line, Column int
	Message      string
}

func (p *Problem) Error() string { return fmt.Sprintf("line %d: %s", p.Line, p.Message) }

// Decode reads data into the struct that to points to. A key that it does not have is a mistake. Errors are *Problem where the place is known. Where the
// library panics, as it does for a list that is a tag without a value, that is an error too: a server reads its files again while it runs.
func Decode(data []byte, to any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("this YAML cannot be read; look for a tag, a word that begins with an exclamation mark, in place of a value")
		}
	}()
	err = yaml.UnmarshalWithOptions(data, to, yaml.Strict())
	if y, ok := errors.AsType[yaml.Error](err); ok {
		at := y.GetToken().Position
		return &Problem{at.Line, at.Column, y.GetMessage()}
	}
	return err
}
