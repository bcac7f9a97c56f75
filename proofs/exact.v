(* What the certificates of machines cite, for any sizes.  Coq 8.16 with Flocq 4.1, both in Debian; scripts/proofs. *)
From Flocq Require Import Core.
Require Import Reals ZArith Lia Lra List.
Import ListNotations.
Open Scope R_scope.

(* binary32, rounding to nearest, ties to even. *)
Definition b32 := FLT_exp (-149) 24.
Definition rnd := round radix2 b32 ZnearestE.

(* 1. Integers below 2^24, times a power of two, are exact, and so are their sums. *)
Lemma scaled_exact (n e : Z) :
  (Z.abs n < 2 ^ 24)%Z -> (-149 <= e)%Z -> generic_format radix2 b32 (IZR n * bpow radix2 e).
Proof.
  intros Hn He. apply generic_format_FLT. exists (Float radix2 n e).
  - reflexivity.
  - exact Hn.
  - exact He.
Qed.

Lemma scaled_sum_exact (x y e : Z) :
  (Z.abs (x + y) < 2 ^ 24)%Z -> (-149 <= e)%Z ->
  rnd (IZR x * bpow radix2 e + IZR y * bpow radix2 e) = IZR (x + y) * bpow radix2 e.
Proof.
  intros Hn He. rewrite <- Rmult_plus_distr_r, <- plus_IZR.
  apply round_generic; [apply valid_rnd_N | now apply scaled_exact].
Qed.

(* Whatever the order: a tree of additions of such numbers whose partial sums stay below 2^24. *)
Inductive tree := Leaf (n : Z) | Node (a b : tree).
Fixpoint total (t : tree) : Z :=
  match t with Leaf n => n | Node a b => (total a + total b)%Z end.
Fixpoint size (t : tree) : Z :=
  match t with Leaf n => Z.abs n | Node a b => (size a + size b)%Z end.
Fixpoint summed (e : Z) (t : tree) : R :=
  match t with
  | Leaf n => IZR n * bpow radix2 e
  | Node a b => rnd (summed e a + summed e b)
  end.

Lemma total_size t : (Z.abs (total t) <= size t)%Z.
Proof. induction t; simpl; lia. Qed.

Lemma size_nonneg t : (0 <= size t)%Z.
Proof. induction t; simpl; lia. Qed.

Theorem any_order_exact (e : Z) (t : tree) :
  (-149 <= e)%Z -> (size t < 2 ^ 24)%Z -> summed e t = IZR (total t) * bpow radix2 e.
Proof.
  intros He. induction t as [n | a IHa b IHb]; intros H; cbn [summed total size] in *.
  - reflexivity.
  - assert (0 <= size a)%Z by apply size_nonneg. assert (0 <= size b)%Z by apply size_nonneg.
    rewrite IHa, IHb by lia. apply scaled_sum_exact; [| exact He].
    pose proof (total_size a). pose proof (total_size b). lia.
Qed.

(* 2. Ballast: 2^k absorbs what is less than half a unit in its last place. *)
Theorem ballast_absorbs (k : Z) (s : R) :
  (-100 <= k)%Z -> 0 <= s < bpow radix2 (k - 24) -> rnd (bpow radix2 k + s) = bpow radix2 k.
Proof.
  intros Hk [H0 H1].
  assert (F : generic_format radix2 b32 (bpow radix2 k)).
  { apply generic_format_FLT_bpow; [reflexivity | lia]. }
  assert (U : ulp radix2 b32 (bpow radix2 k) = bpow radix2 (k - 23)).
  { rewrite ulp_bpow. unfold b32, FLT_exp. f_equal. lia. }
  assert (V : Valid_exp b32) by (apply FLT_exp_valid; reflexivity).
  apply Rle_antisym.
  - apply (round_N_le_midp radix2 b32 (fun x => negb (Z.even x))); [exact F |].
    rewrite succ_eq_pos by apply bpow_ge_0. rewrite U.
    replace (bpow radix2 (k - 23)) with (2 * bpow radix2 (k - 24)).
    + lra.
    + replace (k - 23)%Z with (1 + (k - 24))%Z by lia. rewrite bpow_plus. simpl. lra.
  - apply (round_ge_generic radix2 b32 ZnearestE); [exact F | lra].
Qed.

(* 3. The changes of one cell telescope: their sum is what stands in it now. *)
Open Scope Z_scope.
Fixpoint consistent (present : Z) (visits : list (Z * Z)) : Prop := (* (read, written), oldest first *)
  match visits with [] => True | (r, w) :: rest => r = present /\ consistent w rest end.
Fixpoint content (present : Z) (visits : list (Z * Z)) : Z :=
  match visits with [] => present | (_, w) :: rest => content w rest end.

Theorem changes_telescope (f : Z -> Z) visits : forall present, consistent present visits ->
  fold_right (fun v s => f (snd v) - f (fst v) + s) 0 visits = f (content present visits) - f present.
Proof.
  induction visits as [| [r w] rest IH]; intros present H; simpl in *.
  - lia.
  - destruct H as [-> H]. rewrite (IH w H). lia.
Qed.

(* 4. Addresses of +-1: the inner product of two of w bits is w if they are equal, w - 2 or less if not. *)
Definition sign (b : bool) : Z := if b then 1 else -1.
Fixpoint inner (a b : list bool) : Z :=
  match a, b with
  | x :: a', y :: b' => sign x * sign y + inner a' b'
  | _, _ => 0
  end.

Theorem inner_equal a : inner a a = Z.of_nat (length a).
Proof. induction a as [| x a IH]; [reflexivity |]. cbn [inner length]. rewrite IH. destruct x; simpl sign; lia. Qed.

Lemma inner_most a : forall b, length a = length b -> inner a b <= Z.of_nat (length a).
Proof.
  induction a as [| x a IH]; intros [| y b] H; try discriminate; cbn [inner length] in *; try lia.
  injection H as H. specialize (IH b H). destruct x, y; simpl sign; lia.
Qed.

Theorem inner_gap a : forall b, length a = length b -> a <> b -> inner a b <= Z.of_nat (length a) - 2.
Proof.
  induction a as [| x a IH]; intros [| y b] H D; try discriminate; try now destruct D.
  cbn [inner length] in *. injection H as H. destruct (Bool.bool_dec x y) as [-> | N].
  - assert (a <> b) by (intros ->; now apply D). specialize (IH b H H0). destruct y; simpl sign; lia.
  - pose proof (inner_most a b H). destruct x, y; simpl sign; try lia; now destruct N.
Qed.

(* 5. A conjunction of n literals of +-1: their sum less n - 1 is 1 if all hold, -1 or less if not. *)
Fixpoint sum (l : list bool) : Z := match l with [] => 0 | x :: r => sign x + sum r end.

Lemma sum_most l : sum l <= Z.of_nat (length l).
Proof. induction l as [| x l IH]; cbn [sum length]; [lia | destruct x; simpl sign; lia]. Qed.

Theorem conjunction l :
  (forallb (fun x => x) l = true -> sum l - (Z.of_nat (length l) - 1) = 1) /\
  (forallb (fun x => x) l = false -> sum l - (Z.of_nat (length l) - 1) <= -1).
Proof.
  induction l as [| x l [IHt IHf]]; cbn [sum length forallb]; split; intros H; try discriminate; try lia.
  - destruct x; [| discriminate]. specialize (IHt H). simpl sign. lia.
  - pose proof (sum_most l). destruct x; simpl in H; simpl sign; [specialize (IHf H); lia | lia].
Qed.

(* 6. Bits of the next address: adding 1 flips a bit exactly where all lower ones are 1. *)
Fixpoint number (l : list bool) : Z := (* lowest bit first *)
  match l with [] => 0 | x :: r => (if x then 1 else 0) + 2 * number r end.
Fixpoint flipped (l : list bool) : list bool := (* a bit flips while all before it were 1 *)
  match l with [] => [] | true :: r => false :: flipped r | false :: r => true :: r end.

Theorem increment l : (number (flipped l) - number l - 1) mod 2 ^ Z.of_nat (length l) = 0.
Proof.
  assert (E : exists k, number (flipped l) = number l + 1 - k * 2 ^ Z.of_nat (length l)).
  { induction l as [| x l [k IH]].
    - exists 1. reflexivity.
    - rewrite (Nat2Z.inj_succ (length l) : Z.of_nat (length (x :: l)) = _), Z.pow_succ_r by lia.
      destruct x; cbn [flipped number]; [exists k; rewrite IH; lia | exists 0; lia]. }
  destruct E as [k ->]. replace (_ - _ - 1) with ((- k) * 2 ^ Z.of_nat (length l)) by lia.
  apply Z.mod_mul, Z.pow_nonzero; lia.
Qed.

(* 7. Gates: z > 0 away from zero, silu is 0 or the identity up to z exp(-z), so that differences of two clip. *)
Open Scope R_scope.
Definition silu (z : R) := z / (1 + exp (- z)).

Lemma tail (z : R) : 0 < z -> 0 <= z / (1 + exp z) <= z * exp (- z).
Proof.
  intros Hz. pose proof (exp_pos z). rewrite exp_Ropp. split.
  - apply Rmult_le_pos; [lra |]. left. apply Rinv_0_lt_compat. lra.
  - apply Rmult_le_compat_l; [lra |]. apply Rinv_le_contravar; lra.
Qed.

Theorem silu_tail (z : R) : 0 < z ->
  Rabs (silu (- z)) <= z * exp (- z) /\ Rabs (z - silu z) <= z * exp (- z).
Proof.
  intros Hz. pose proof (tail z Hz) as [H0 H1]. pose proof (exp_pos z).
  assert (A : silu (- z) = - (z / (1 + exp z))).
  { unfold silu. rewrite Ropp_involutive. field. lra. }
  assert (B : z - silu z = z / (1 + exp z)).
  { unfold silu. rewrite exp_Ropp. field. lra. }
  rewrite A, B, Rabs_Ropp, Rabs_pos_eq by exact H0. split; exact H1.
Qed.

(* 8. Attention: beside one winner, losers of total weight m <= n exp(-g) have a share that grows with it. *)
Theorem losing_share (m most : R) : 0 <= m <= most -> m / (1 + m) <= most / (1 + most).
Proof.
  intros [H0 H1]. replace (m / (1 + m)) with (1 - / (1 + m)) by (field; lra).
  replace (most / (1 + most)) with (1 - / (1 + most)) by (field; lra).
  apply Rplus_le_compat_l, Ropp_le_contravar, Rinv_le_contravar; lra.
Qed.

(* 9. Two gates are a product: silu(x) y - silu(-x) y = x y. *)
Theorem silu_product (x y : R) : silu x * y - silu (- x) * y = x * y.
Proof.
  unfold silu. rewrite Ropp_involutive, exp_Ropp. pose proof (exp_pos x). field. repeat split; lra.
Qed.

(* 10. Rotary positions: a key that is b turns ahead, at distance d, has the score cos((d - b) f) with a query of (1, 0). *)
Theorem turned_back (f t d b : R) :
  let key0 := cos (b * f) * cos ((t - d) * f) - sin (b * f) * sin ((t - d) * f) in
  let key1 := sin (b * f) * cos ((t - d) * f) + cos (b * f) * sin ((t - d) * f) in
  cos (t * f) * key0 + sin (t * f) * key1 = cos ((d - b) * f).
Proof.
  cbv zeta. rewrite <- cos_plus, <- sin_plus, <- cos_minus.
  f_equal. ring.
Qed.

(* Which distance has the greatest sum of such cosines is a comparison of finitely many numbers: the certificate makes it. *)
Theorem no_score_above (f d b : R) : cos ((d - b) * f) <= cos ((b - b) * f).
Proof.
  replace ((b - b) * f) with 0 by ring. rewrite cos_0. apply COS_bound.
Qed.
