package lock_test

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

func TestFenceScriptAgainstItsModel(t *testing.T) {
	t.Parallel()
	p := newProperty(t)
	rapid.Check(t, p.fence)
	p.allRan(t, "fence")
}

func FuzzFenceScript(f *testing.F) {
	fuzz(f, (*property).fence)
}

func (p *property) fence(t *rapid.T) {
	r := p.runner(t)
	var fence int64
	value := ""
	t.Repeat(map[string]func(*rapid.T){
		"set": func(t *rapid.T) {
			token, v := rapid.Int64Range(1, 1<<52).Draw(t, "token"), rapid.StringN(1, 8, 8).Draw(t, "value")
			want := "0"
			if token >= fence {
				want, fence, value = "1", token, v
			}
			if got := r.eval("fence", []string{r.prefix + "f"}, strconv.FormatInt(token, 10), v, "60000"); got != want {
				t.Fatalf("fence: %q, want %q", got, want)
			}
			if got := r.do("HGET", r.prefix+"f", "v"); got != value {
				t.Fatalf("the value is %q, want %q", got, value)
			}
		},
	})
}
