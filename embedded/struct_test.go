package embedded_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/redstart-go/redstart/internal/rig"
)

// packScript packs ARGV[2…] by the format in ARGV[1], and unpacks the result. It returns the bytes
// and the values. It reports an error without its text.
const packScript = `
local ok, packed = pcall(struct.pack, unpack(ARGV))
if not ok then return {'no pack'} end
local answer = {packed}
local all = {pcall(struct.unpack, ARGV[1], packed)}
if not all[1] then return {packed, 'no unpack'} end
for i = 2, #all do
  local v = all[i]
  answer[i] = type(v) == 'number' and string.format('%.17g', v) or v
end
local sized, size = pcall(struct.size, ARGV[1])
answer[#answer + 1] = sized and 'size ' .. size or 'no size'
return answer`

// random returns a format and values for it.
func randomFormat(rng *rand.Rand) (args []string) {
	format := ""
	for range 1 + rng.IntN(6) {
		option := string("bBhHlLTiIfdscx<>! "[rng.IntN(18)])
		switch option {
		case "b", "B", "h", "H", "l", "L", "T", "f", "d":
			args = append(args, randomNumber(rng))
		case "i", "I":
			if rng.IntN(3) > 0 {
				option += strconv.Itoa(1 + rng.IntN(8)) // above 8, Redis shifts by more than a number has bits
			}
			args = append(args, randomNumber(rng))
		case "s":
			args = append(args, strings.Repeat("s", rng.IntN(5)))
		case "c":
			text := strings.Repeat("c\x00", 1+rng.IntN(4))
			option += strconv.Itoa(1 + rng.IntN(len(text)+1)) // at times more than there is
			args = append(args, text)
		case "!":
			option += []string{"", "1", "2", "4", "8", "16", "3"}[rng.IntN(7)]
		}
		format += option
	}
	return append([]string{format}, args...)
}

func randomNumber(rng *rand.Rand) string {
	switch rng.IntN(4) {
	case 0:
		return strconv.Itoa(rng.IntN(256))
	case 1:
		return strconv.Itoa(-rng.IntN(70_000))
	case 2:
		return strconv.FormatInt(rng.Int64N(1<<52), 10)
	}
	return fmt.Sprintf("%.4f", rng.Float64()*1e6)
}

// The struct library of scripts packs and unpacks like the library of Redis.
func TestStructMatchesRedis(t *testing.T) {
	t.Parallel()
	rig.Need(t, rig.TierServer)
	ours, theirs := connect(t, rig.Embedded(t).URL()), connect(t, rig.Shared(t).URL())
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	formats := [][]string{
		{""}, {"q", "1"}, {"c5", "four"}, {"<dI4dI4", "1.5", "7", "1e16", "4294967295"}, {"i33", "1"}, {"bb", "1"},
		{"!3b", "1"}, {"s", "a\x00b"},
		{">c13dI4", "2abcdefabcdef", "1800000000000000", "12"}, {"<I8", "258"},
	}
	for range 3000 {
		formats = append(formats, randomFormat(rng))
	}
	packed := 0
	for _, args := range formats {
		command := append([]string{"EVAL", packScript, "0"}, args...)
		want, got := do(t, theirs, command...), do(t, ours, command...)
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q: %q, Redis answers %q", args, got, want)
		}
		if len(want.([]any)) > 2 {
			packed++
		}
	}
	if packed < len(formats)/2 {
		t.Errorf("%d of %d formats were packed: the comparison says little", packed, len(formats))
	}
}

// The work of a format has a limit, and data of any length is read without a panic.
func TestStructIsBounded(t *testing.T) {
	t.Parallel()
	client := connect(t, rig.Embedded(t).URL())
	for script, part := range map[string]string{
		`return struct.pack('c999999999999', 'x')`:                                   "overflow",
		`return struct.unpack('I33', 'x')`:                                           "integral size",
		`return struct.unpack('I4', 'abc')`:                                          "too short",
		`return struct.unpack('I4', 'abcd', 0)`:                                      "offset",
		`return struct.unpack('I4', 'abcd', 6)`:                                      "offset",
		`return struct.unpack('s', 'abc')`:                                           "unfinished",
		`return struct.unpack('c0', 'abc')`:                                          "previous size",
		`return struct.unpack('bc0', '\255abc')`:                                     "previous size",
		`return struct.unpack(string.rep('b', 100000), string.rep('x', 100000))`:     "too many",
		`return struct.size('s')`:                                                    "variable-size",
		`return #struct.pack(string.rep('c1000000', 100), string.rep('x', 10))`:      "too short",
		`local s = string.rep('x', 1000000) return #struct.pack(string.rep('s', 3))`: "bad argument",
	} {
		if _, err := try(client, "EVAL", script, "0"); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q", script, err, part)
		}
	}
	if got := do(t, client, "EVAL", `return {struct.unpack('Bc0', '\3abcd')}`, "0"); fmt.Sprint(got) != "[abc 5]" {
		t.Error(got)
	}
	if _, is := do(t, client, "PING").(string); !is {
		t.Error("the server has ended")
	}
}
