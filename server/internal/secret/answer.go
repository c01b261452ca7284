package secret

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// answer is what to say to a question by keyboard-interactive that holds prompt, in whatever case.
type answer struct {
	prompt string
	text   Value
}

// answersOf reads an object of prompts and answers. The order of the object stays.
func answersOf(n ast.Node) (answers []answer, ok bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, true
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	for _, v := range values {
		prompt := v.Key.GetToken().Value
		var text string
		switch said := v.Value.(type) {
		case *ast.StringNode:
			text = said.Value
		case *ast.LiteralNode:
			text = said.Value.Value
		}
		if prompt == "" || text == "" {
			return nil, false
		}
		answers = append(answers, answer{prompt, NewValue(text)})
	}
	return answers, true
}

// answer gives the answers to what a host asks. Whoever asks has shown the right host key.
func (c *Credential) answer(_, _ string, questions []string, echos []bool) ([]string, error) {
	said := make([]string, len(questions))
	for i, question := range questions {
		best := answer{}
		for _, a := range c.answers {
			if len(a.prompt) > len(best.prompt) && strings.Contains(strings.ToLower(question), strings.ToLower(a.prompt)) {
				best = a
			}
		}
		alone := len(questions) == 1 || strings.Contains(strings.ToLower(question), "password")
		switch {
		case best.prompt != "":
			said[i] = best.text.Reveal()
		case alone && !echos[i] && !c.password.IsZero():
			said[i] = c.password.Reveal()
		default:
			return nil, fmt.Errorf("the host asks %.80q, to which the secret has no answer: add it to answers", question)
		}
	}
	return said, nil
}
