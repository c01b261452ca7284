package secret

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestRedactor(t *testing.T) {
	const key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\nQyNTUxOQAAACBhbGljZQAA\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
	r := NewRedactor(Patterns([]string{"hunter2", "hunter2hunter2", "abc", "", key, "hunter2"}))
	for _, tc := range []struct{ in, want string }{
		{"", ""},
		{"nothing here", "nothing here"},
		{"a hunter2 b", "a [redacted] b"},
		{"hunter2hunter2", "[redacted]"},
		{"hunter2hunter", "[redacted]hunter"},
		{"hunter2hunter2hunter2", "[redacted][redacted]"},
		{"hhunter2", "h[redacted]"},
		{"hunterhunter2", "hunter[redacted]"},
		{"abc", "abc"}, // too short: the marks would tell it
		{strings.ReplaceAll(key, "\n", "\r\n"), "-----BEGIN OPENSSH PRIVATE KEY-----\r\n[redacted]\r\n[redacted]\r\nAAAA\r\n-----END OPENSSH PRIVATE KEY-----\r\n"},
		{`{"private_key":"` + strings.ReplaceAll(key, "\n", `\n`) + `"}`, `{"private_key":"-----BEGIN OPENSSH PRIVATE KEY-----\n[redacted]\n[redacted]\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"}`},
	} {
		clean, rest, _ := r.Clean([]byte(tc.in), false)
		if string(clean) != tc.want || len(rest) > 0 {
			t.Errorf("%q: %q, rest %q", tc.in, clean, rest)
		}
		for size := 1; size < 9; size++ {
			var got bytes.Buffer
			w := r.Writer(&got)
			for b := []byte(tc.in); len(b) > 0; b = b[min(size, len(b)):] {
				if n, err := w.Write(b[:min(size, len(b))]); n != min(size, len(b)) || err != nil {
					t.Fatal(n, err)
				}
			}
			if err := w.Close(); err != nil || got.String() != tc.want || int(w.Count()) != strings.Count(tc.want, Mark) {
				t.Errorf("%q in pieces of %d: %q, %d taken out, %v", tc.in, size, got.String(), w.Count(), err)
			}
		}
	}
	if NewRedactor(nil) != nil {
		t.Error("a redactor of nothing")
	}
	if clean, rest, n := (*Redactor)(nil).Clean([]byte("x"), true); string(clean) != "x" || rest != nil || n != 0 {
		t.Error("a nil redactor does something")
	}
}

// TestRedactorAtRandom compares with replacing in the whole text, over an alphabet in which secrets overlap often.
func TestRedactorAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		text := func(n int) string {
			b := make([]byte, n)
			for i := range b {
				b[i] = "ab"[r.IntN(2)]
			}
			return string(b)
		}
		var secrets []string
		for range 1 + r.IntN(4) {
			secrets = append(secrets, text(minText+r.IntN(6)))
		}
		patterns := Patterns(secrets)
		var pairs []string
		for _, p := range patterns {
			pairs = append(pairs, p, Mark)
		}
		in := text(400)
		want := strings.NewReplacer(pairs...).Replace(in)
		var got bytes.Buffer
		w := NewRedactor(patterns).Writer(&got)
		for rest := in; rest != ""; {
			n := 1 + r.IntN(len(rest))
			_, _ = w.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		_ = w.Close()
		if got.String() != want {
			t.Fatalf("seed %d: %q of %q became %q, want %q", seed, secrets, in, got.String(), want)
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add([]byte("say hunter2 twice: hunter2"), "hunter2", 3)
	f.Fuzz(func(t *testing.T, in []byte, text string, size int) {
		patterns := Patterns([]string{text})
		if size < 1 || len(patterns) == 0 {
			return
		}
		var got bytes.Buffer
		w := NewRedactor(patterns).Writer(&got)
		for b := in; len(b) > 0; b = b[min(size, len(b)):] {
			_, _ = w.Write(b[:min(size, len(b))])
		}
		_ = w.Close()
		for i, piece := range strings.Split(got.String(), Mark) {
			for _, p := range patterns {
				if strings.Contains(piece, p) {
					t.Errorf("piece %d holds the secret: %q", i, piece)
				}
			}
		}
	})
}

func BenchmarkRedactor(b *testing.B) {
	var texts []string
	for i := range 50 {
		texts = append(texts, strings.Repeat(string(rune('a'+i%26))+string(rune('A'+i/2)), 32))
	}
	r := NewRedactor(Patterns(texts))
	in := bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"), 16<<10)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		r.Clean(in, true)
	}
}
