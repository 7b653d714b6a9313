package wire

// SetLimit changes how many bytes one reply may have.
func (d *Decoder) SetLimit(bytes int64) { d.limit = bytes }

// ElemSize is how many bytes of the budget an element of a list takes.
const ElemSize = elemSize
