package directory

// commandKind is the first byte of an encoded command. The list is append-only.
type commandKind uint8

const (
	kindBootstrap commandKind = iota + 1
	kindAddNode
	kindUpdateNode
	kindSetNodeState
	kindCreateShard
	kindSetReplicas
	kindSetShardState
	kindRemoveShard
	kindReserveTenant
	kindActivateTenant
	kindAbandonTenant
	kindRenameTenant
	kindBeginMove
	kindFlipMove
	kindAbortMove
	kindEndMove
	kindEraseTenant
	kindCreateToken
	kindRevokeToken
	kindSetOperators
	kindSetCA
	kindSetSetting
	kindBarrier
)

func (Bootstrap) kind() commandKind      { return kindBootstrap }
func (AddNode) kind() commandKind        { return kindAddNode }
func (UpdateNode) kind() commandKind     { return kindUpdateNode }
func (SetNodeState) kind() commandKind   { return kindSetNodeState }
func (CreateShard) kind() commandKind    { return kindCreateShard }
func (SetReplicas) kind() commandKind    { return kindSetReplicas }
func (SetShardState) kind() commandKind  { return kindSetShardState }
func (RemoveShard) kind() commandKind    { return kindRemoveShard }
func (ReserveTenant) kind() commandKind  { return kindReserveTenant }
func (ActivateTenant) kind() commandKind { return kindActivateTenant }
func (AbandonTenant) kind() commandKind  { return kindAbandonTenant }
func (RenameTenant) kind() commandKind   { return kindRenameTenant }
func (BeginMove) kind() commandKind      { return kindBeginMove }
func (FlipMove) kind() commandKind       { return kindFlipMove }
func (AbortMove) kind() commandKind      { return kindAbortMove }
func (EndMove) kind() commandKind        { return kindEndMove }
func (EraseTenant) kind() commandKind    { return kindEraseTenant }
func (CreateToken) kind() commandKind    { return kindCreateToken }
func (RevokeToken) kind() commandKind    { return kindRevokeToken }
func (SetOperators) kind() commandKind   { return kindSetOperators }
func (SetCA) kind() commandKind          { return kindSetCA }
func (SetSetting) kind() commandKind     { return kindSetSetting }
func (Barrier) kind() commandKind        { return kindBarrier }
