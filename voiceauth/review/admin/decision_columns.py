"""The columns of a decision: each figure with what it means, for whoever meets it first."""

from typing import Any

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from enrollment.models import ConfirmedCall
from voiceauth.platform.api.serializers import rounded, rounded_probability
from voiceauth.review.admin.held import method_label
from voiceauth.review.charts import badge, probability_bar
from voiceauth.verification.models import Decision

TONES = {"ACCEPT": "good", "MATCH": "good", "REJECT": "bad", "NO_MATCH": "bad", "SPEAKER_LOCKED": "bad"}
NOTHING = "—"


def explained(value: Any, meaning: str) -> SafeString:
    """Return a value with what it means; a dash alone where there is none."""
    if value is None or value == "":
        return SafeString(NOTHING)
    return format_html('<span class="va-value">{}</span> <span class="va-quiet">{}</span>', value, meaning)


def risk_codes(decision: Decision) -> list[str]:
    """Return the reasons of a decision's fraud risk, the likeliest first."""
    return [each["code"] for each in decision.fraud_risk.get("reasons", [])]


class DecisionColumns:
    """What the list and the page of a decision show."""

    @admin.display(description="decision", ordering="decision")
    def result(self, obj: Decision) -> SafeString:
        """Show the decision with its reasons."""
        shown = badge(obj.decision, TONES.get(obj.decision, "neutral"))
        return format_html("{} {}", shown, self.reasons_given(obj)) if obj.reasons else shown

    @admin.display(description="reasons")
    def reasons_given(self, obj: Decision) -> SafeString | str:
        """Show the reasons."""
        return format_html_join(" ", "{}", ((badge(each, "busy"),) for each in obj.reasons)) or NOTHING

    @admin.display(description="fraud risk")
    def risk(self, obj: Decision) -> SafeString | str:
        """Show the reasons of the fraud risk."""
        return format_html_join(" ", "{}", ((badge(each, "bad"),) for each in risk_codes(obj))) or NOTHING

    @admin.display(description="fraud risk")
    def risk_with_scores(self, obj: Decision) -> SafeString:
        """Show the level and each reason with its score."""
        if not obj.fraud_risk:
            return explained("not judged", "no voice was compared with fraudsters and earlier calls")
        found = obj.fraud_risk["reasons"]
        if not found:
            return badge(obj.fraud_risk["level"], "good")
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td></tr>",
            ((badge(each["code"], "bad"), rounded(each["score"])) for each in found),
        )
        return format_html(
            '{}<table class="va-table"><thead><tr><th>Reason</th><th>Score, 0 to 1</th></tr></thead><tbody>{}</tbody>'
            "</table>",
            badge(obj.fraud_risk["level"], "bad"),
            rows,
        )

    @admin.display(description="customer", ordering="customer_id")
    def customer(self, obj: Decision) -> str:
        """Show the claimed customer, or whom the voice matched."""
        return obj.customer_id or NOTHING

    @admin.display(description="tier", ordering="tier")
    def tier_name(self, obj: Decision) -> str:
        """Show the risk tier of the transaction."""
        return obj.tier or NOTHING

    @admin.display(description="probability", ordering="probability")
    def bar(self, obj: Decision) -> SafeString:
        """Draw the probability; in another colour where something else than the voice decided."""
        return probability_bar(obj.probability, obj.threshold, overruled=", ".join([*obj.reasons, *risk_codes(obj)]))

    @admin.display(description="threshold")
    def threshold_used(self, obj: Decision) -> SafeString:
        """Show the threshold."""
        shown = None if obj.threshold is None else rounded_probability(obj.threshold)
        return explained(shown, "the probability from which a call is accepted, for the tier's false-accept rate")

    @admin.display(description="log-likelihood ratio")
    def ratio(self, obj: Decision) -> SafeString:
        """Show the log-likelihood ratio."""
        shown = None if obj.log_likelihood_ratio is None else rounded(obj.log_likelihood_ratio)
        return explained(shown, "natural logarithm: above 0 the same voice is likelier, below 0 another one")

    @admin.display(description="score")
    def similarity(self, obj: Decision) -> SafeString:
        """Show the raw score."""
        shown = None if obj.score is None else rounded(obj.score)
        return explained(shown, "similarity before calibration; comparable within one model only")

    @admin.display(description="net speech", ordering="speech_seconds")
    def speech(self, obj: Decision) -> SafeString:
        """Show the net speech of the call."""
        return explained(_seconds(obj.speech_seconds), "of the call, without pauses")

    @admin.display(description="enrolled speech")
    def enrolled(self, obj: Decision) -> SafeString:
        """Show the net speech behind the voiceprint."""
        return explained(_seconds(obj.enrollment_speech_seconds), "net, behind the voiceprint")

    @admin.display(description="signal to noise")
    def snr(self, obj: Decision) -> SafeString:
        """Show the signal-to-noise ratio."""
        shown = None if obj.snr_db is None else f"{obj.snr_db:.1f} dB"
        return explained(shown, "of the speech; the policy asks for a minimum")

    @admin.display(description="clipped samples")
    def clipping(self, obj: Decision) -> SafeString:
        """Show the share of clipped samples."""
        shown = None if obj.clipping_ratio is None else f"{obj.clipping_ratio:.2%}"
        return explained(shown, "of the speech; the policy sets a maximum")

    @admin.display(description="channel")
    def channel_heard(self, obj: Decision) -> SafeString:
        """Show the channel that was heard."""
        return explained(obj.channel, "of the recording was heard")

    @admin.display(description="cut out")
    def cut_out(self, obj: Decision) -> SafeString:
        """Show the stretches that were neither stored nor scored."""
        stretches = ", ".join(f"{start:g} to {end:g} s" for start, end in obj.redacted)
        return explained(stretches, "of the upload: neither stored nor scored")

    @admin.display(description="policy")
    def policy_number(self, obj: Decision) -> SafeString:
        """Show the number of the policy that decided."""
        return explained(obj.policy or "default", "its number; the limits and rates that decided")

    @admin.display(description="another factor")
    def other_factor(self, obj: Decision) -> SafeString:
        """Show the fallback, and whether even an ACCEPT needs it."""
        needed = "needed even for an ACCEPT" if obj.further_factor_required else "needed unless the call is accepted"
        return explained(obj.fallback, needed)

    @admin.display(description="the caller was told")
    def told_caller(self, obj: Decision) -> SafeString:
        """Show what the caller was told in place of a hidden decision."""
        if obj.told is None:
            return SafeString("the decision above")
        said = [obj.told["decision"], *obj.told["reasons"]]
        if obj.told["probability"] is not None:
            said.append(f"probability {rounded_probability(obj.told['probability'])}")
        return explained(", ".join(said), "so that nobody learns who is a customer, or locked, or has to wait")

    @admin.display(description="caller")
    def caller_hash(self, obj: Decision) -> SafeString:
        """Show the keyed hash of the caller."""
        return explained(obj.caller, "keyed hash: search for the number to find its other calls")

    @admin.display(description="scored in")
    def scored_in(self, obj: Decision) -> SafeString:
        """Show how long scoring took."""
        shown = None if obj.scoring_milliseconds is None else f"{obj.scoring_milliseconds:.0f} ms"
        return explained(shown, "by the scoring worker")

    @admin.display(description="confirmed by")
    def confirmed(self, obj: Decision) -> str:
        """Show what confirmed the caller, where the call was added to the voiceprint."""
        call = ConfirmedCall.objects.filter(pk=obj.pk).first()
        if call is None:
            return NOTHING
        return f"{method_label(call)}{'' if call.sample_id else ' (removed from the voiceprint)'}"

    @admin.display(description="ranked candidates")
    def ranking(self, obj: Decision) -> SafeString:
        """Show the candidates of an identification."""
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (rank, row.get("customer_id", ""), probability_bar(row.get("probability"), obj.threshold))
                for rank, row in enumerate(obj.candidates, start=1)
            ),
        )
        left_out = format_html("<p>Not compared, because they are not enrolled: {}</p>", ", ".join(obj.left_out))
        return format_html(
            '<table class="va-table"><thead><tr><th>Rank</th><th>Customer</th><th>Probability</th></tr></thead>'
            "<tbody>{}</tbody></table>{}",
            rows,
            left_out if obj.left_out else "",
        )


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} s"
