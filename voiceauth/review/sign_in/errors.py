"""What can go wrong when staff sign in. No call of the API answers with these."""

from voiceauth.platform.errors import DomainError


class SignInRefused(DomainError):
    """The identity provider's answer lets nobody in. The message says why, to the person at the browser."""

    code = "sign_in_refused"
    status = 403
    message = "The identity provider did not confirm who you are. Start again."


class SecondFactorRefused(DomainError):
    """What is asked of a second factor cannot be done. The subclasses say why."""

    code = "second_factor_refused"
    status = 403
    message = "This is not possible with your second factor."


class WrongCode(SecondFactorRefused):
    """The code is not the app's, was used before, or is no recovery code."""

    message = "This code is wrong or was used before. Wait for the next code of your app, and enter that."


class TooManyWrongCodes(SecondFactorRefused):
    """Carries ``retry_after_seconds``."""

    message = "Too many wrong codes were entered. Try again in {minutes} min."


class AlreadySetUp(SecondFactorRefused):
    """The person has a second factor."""

    message = "This account has a second factor already. Remove it first."


class NotSetUp(SecondFactorRefused):
    """The person has no second factor."""

    message = "This account has no second factor."


class SecondFactorRequired(SecondFactorRefused):
    """The policy requires what the person wants to remove."""

    message = "The policy requires a second factor for your role, so you cannot remove yours."
